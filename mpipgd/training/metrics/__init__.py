"""Metrics of a model: exact, and the same bits on any number of ranks."""
