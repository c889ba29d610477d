"""Raw photos of a two-camera rig whose geometry and colours are known exactly."""
