"""One flat vector of weights and the named views into it."""

import math


def views(w, shapes):
    """Return name -> array: each part of the flat vector `w` in its own shape.

    `shapes` names the parts in their flat order. A view shares memory with `w`.
    """
    parts, lo = {}, 0
    for name, shape in shapes.items():
        hi = lo + math.prod(shape)
        parts[name] = w[lo:hi].reshape(shape)
        lo = hi
    return parts


def size(shapes):
    """Return the number of weights that `shapes` (name -> shape) add up to."""
    return sum(map(math.prod, shapes.values()))
