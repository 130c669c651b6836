"""All compiled passes of linear models.

Imported only where an objective is compiled, for numba takes its time.
"""

from . import folds, kernels, products, sparse, together

__all__ = ["folds", "kernels", "products", "sparse", "together"]
