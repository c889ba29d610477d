"""The basis of every stage: errors, settings, files that are complete or absent, processes."""
