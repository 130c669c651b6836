"""Compiled kernels of linear models.

Import this package only where an objective is compiled: loading numba takes most of a
second.
"""

from . import dense, fused_sync, hogwild, matmul, sparse

__all__ = ["dense", "fused_sync", "hogwild", "matmul", "sparse"]
