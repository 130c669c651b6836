"""The sum through memory that the ranks of one node share, in one compiled call.

Ranks tell each other by flags in that memory that their partial sums are there, and
wait for each other's without a call of the MPI library. Loads and stores of flags are
atomic, with acquire and release order, so it holds on any processor. Additions come in
the order of the tree and nothing is reassociated: the bits are those of numpy.

Imported only where an objective is compiled, for numba takes its time.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LINE = 8  # int64 in a cache line: each rank's flag has a line of its own
SPINS = 2000  # about 20 µs of looking before a rank offers its core to another

compiled = njit(cache=True, nogil=True)


@intrinsic
def _load(typingctx, address):
    """Return the int64 at an address; later reads see what its writer wrote before."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.uintp), generate


@intrinsic
def _store(typingctx, address, value):
    """Set the int64 at an address, after all that was written before."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64), generate


@intrinsic
def _offer_core(typingctx):
    """Let another process run on this core, if one waits for it."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        function = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")
        return builder.call(function, [])

    return types.int32(), generate


@compiled
def meet(flags, me, turn, spins):
    """Say that this rank has come to its `turn`, and wait for all others to."""
    start = flags.ctypes.data
    _store(np.uintp(start + me * LINE * 8), turn)
    for rank in range(-(-flags.size // LINE)):
        looked = 0
        while _load(np.uintp(start + rank * LINE * 8)) < turn:
            looked += 1
            if looked > spins:
                _offer_core()


@compiled
def total(mine, shared, place, turn, pairs, out):
    """Sum all ranks' partial sums into out[0]; `mine` (k, size) are this rank's.

    shared: (slots (2, n, size), flags); place: (rank, its first slot, spins).
    Slots take turns: who writes turn t+2 knows that all have read turn t.
    """
    (slots, flags), (me, first, spins) = shared, place
    slot = slots[turn % 2]
    for k in range(mine.shape[0]):
        slot[first + k, :] = mine[k]
    meet(flags, me, turn, spins)
    out[:] = slot
    for k in range(pairs.shape[0]):
        left, right = out[pairs[k, 0]], out[pairs[k, 1]]
        for j in range(left.size):
            left[j] += right[j]
