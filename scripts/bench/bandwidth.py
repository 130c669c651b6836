"""The fastest way to read an array: how fast memory is."""

from mpipgd.jit import compiled


@compiled
def read(X):
    """Return the sum of all numbers, in any order."""
    x, total = X.reshape(-1), 0.0
    for j in range(x.size):
        total += x[j]
    return total
