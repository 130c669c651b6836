"""What becomes of a gradient: means over workers, optimizers, schedules, L-BFGS."""
