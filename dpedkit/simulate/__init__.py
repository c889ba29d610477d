"""Raw photos from two simulated cameras whose geometry and colours are known exactly."""
