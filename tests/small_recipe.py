"""A recipe that takes seconds: what several tests run from photos to shards."""

SMALL_RECIPE = """
[simulate]
pairs = 3
phone_megapixels = 0.25
dslr_megapixels = 0.6
[align]
[patches]
min_corr = 0.5
"""
