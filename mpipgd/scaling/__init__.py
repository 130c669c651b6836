"""Scaling studies: runs on several numbers of ranks, what they took, and a model."""
