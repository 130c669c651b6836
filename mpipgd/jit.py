"""How functions are compiled: cached, without the interpreter's lock.

Sums may be reassociated by the compiler but not at run time: same machine, same rows,
same bits, wherever the arrays lie.
"""

from numba import njit

HOW = {"cache": True, "nogil": True, "error_model": "numpy"}
SUMS = {"reassoc", "contract"}

compiled = njit(**HOW, fastmath=SUMS)

# into the caller, where a call would take as long as what it does
inlined = njit(**HOW, fastmath=SUMS, inline="always")

# without counting references to arrays, which is atomic: where no array is made
bare = njit(**HOW, fastmath=SUMS, _nrt=False)
