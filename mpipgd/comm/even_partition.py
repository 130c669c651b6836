"""Contiguous, even parts of a range of rows, weights or workers."""


def even_partition(n: int, parts: int, part: int) -> tuple[int, int]:
    """Return first and end of one of `parts` contiguous, even parts of 0 … n-1.

    Part k is ⌊k n / parts⌋ … ⌊(k+1) n / parts⌋-1; sizes differ by one at the most.
    """
    return part * n // parts, (part + 1) * n // parts


def even_offsets(n: int, parts: int) -> list[int]:
    """Return the parts+1 offsets at which even parts of 0 … n-1 begin and end."""
    return [k * n // parts for k in range(parts + 1)]


def even_slices(n: int, parts: int) -> list[slice]:
    """Return the even parts of 0 … n-1 as slices."""
    return [slice(*even_partition(n, parts, k)) for k in range(parts)]
