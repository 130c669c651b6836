"""Contiguous, even parts of a range."""


def even_partition(rows, workers, worker):
    """Return the first row of a worker's even share of `rows`, and its end."""
    return worker * rows // workers, (worker + 1) * rows // workers


def even_offsets(rows: int, workers: int) -> list[int]:
    """Return the first rows of all even shares, and the end: workers + 1 numbers."""
    return [worker * rows // workers for worker in range(workers + 1)]
