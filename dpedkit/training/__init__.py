"""Training an enhancement network on patch pairs: losses, data, checkpoints and the loop."""
