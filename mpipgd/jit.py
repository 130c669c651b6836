"""How functions are compiled with numba: cached on disk, and without the GIL.

The compiler may reassociate sums and contract a b + c to one rounding, but decides that
at compile time: with the same machine and the same rows the bits are the same, wherever
the arrays lie in memory.
"""

from typing import Any

from numba import njit

JIT_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
FASTMATH_FLAGS = {"reassoc", "contract"}

compiled = njit(**JIT_OPTIONS, fastmath=FASTMATH_FLAGS)

# Inlined into the caller, for functions as short as the call itself.
inlined = njit(**JIT_OPTIONS, fastmath=FASTMATH_FLAGS, inline="always")

# Without reference counts of arrays, which are atomic operations: only for functions
# that make no array.
NO_REFCOUNTS: dict[str, Any] = {"_nrt": False}
compiled_without_refcounts = njit(
    **JIT_OPTIONS, fastmath=FASTMATH_FLAGS, **NO_REFCOUNTS
)
