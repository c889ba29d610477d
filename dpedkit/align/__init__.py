"""From two photos of one scene to two images that match pixel for pixel (paper, section II)."""
