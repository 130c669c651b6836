"""A training run: the loop, the ways to take steps, callbacks, checkpoints."""
