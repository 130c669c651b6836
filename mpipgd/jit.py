"""How functions are compiled: cached, without the interpreter's lock.

Sums may be reassociated by the compiler but not at run time: same machine, same rows,
same bits, wherever the arrays lie.
"""

from numba import njit

JIT_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
FASTMATH_FLAGS = {"reassoc", "contract"}

compiled = njit(**JIT_OPTIONS, fastmath=FASTMATH_FLAGS)

# into the caller, where a call would take as long as what it does
inlined = njit(**JIT_OPTIONS, fastmath=FASTMATH_FLAGS, inline="always")

# without counting references to arrays, which is atomic: where no array is made
compiled_without_refcounts = njit(**JIT_OPTIONS, fastmath=FASTMATH_FLAGS, _nrt=False)
