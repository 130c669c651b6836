"""Contiguous, even parts of a range."""


def even_partition(rows, workers, worker):
    """Return the first row of a worker's even share of `rows`, and its end."""
    return worker * rows // workers, (worker + 1) * rows // workers
