"""Whether a network fits photos: they are compared with those that it was trained on."""
