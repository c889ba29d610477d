"""What every stage builds on: errors, settings, files that are complete or absent, processes."""
