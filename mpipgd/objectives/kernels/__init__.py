"""Compiled kernels of linear models.

Imported only where an objective is compiled, for numba takes its time.
"""

from . import dense, fused_sync, hogwild, matmul, sparse

__all__ = ["dense", "fused_sync", "hogwild", "matmul", "sparse"]
