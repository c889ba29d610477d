"""A colour map that depends on the whole photo, not only on the pixel.

How a camera exposed and balanced a photo cannot be seen in a pixel, but partly in a thumbnail:

    look = describe(thumbnail)                      # what the map goes by
    photo_map = fit_photo_map_to(reader)            # from the thumbnails and patches of a split
    scores = photo_map.scores(look)                 # how this photo differs from the mean photo
    PhotoColours.of(photo_map, guide, size)         # applies it to the photo's rows

The network `dpedkit.models.photo_aware` applies the map and adds detail.
"""

from dpedkit.photomap.colours import PhotoColours
from dpedkit.photomap.fit import fit_photo_map_to
from dpedkit.photomap.guides import PatchGuides, PatchPlaces, PhotoGuide
from dpedkit.photomap.look import Look, describe
from dpedkit.photomap.map import PhotoMap

__all__ = [
    "Look", "PatchGuides", "PatchPlaces", "PhotoColours", "PhotoGuide", "PhotoMap", "describe",
    "fit_photo_map_to",
]  # fmt: skip
