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

NAP = 20  # microseconds
MONOTONIC = 1  # of clock_gettime(2)

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


def _call(builder, name, args):
    """Call a function of the C library that returns an int."""
    kind = ir.FunctionType(ir.IntType(32), [each.type for each in args])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, name), args
    )


@intrinsic
def _offer_core(typingctx):
    """Let another process run on this core, if one waits for it."""

    def generate(context, builder, signature, args):
        return _call(builder, "sched_yield", [])

    return types.int32(), generate


@intrinsic
def _nap(typingctx, microseconds):
    """Sleep, and leave the core to another rank."""

    def generate(context, builder, signature, args):
        return _call(builder, "usleep", args)

    return types.int32(types.uint32), generate


@intrinsic
def clock_ns(typingctx):
    """Return nanoseconds of the clock that `time.perf_counter` reads."""

    def generate(context, builder, signature, args):
        word = ir.IntType(64)
        time = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
        _call(builder, "clock_gettime", [ir.Constant(ir.IntType(32), MONOTONIC), time])
        seconds, nanoseconds = (
            builder.extract_value(builder.load(time), k) for k in (0, 1)
        )
        whole = builder.mul(seconds, ir.Constant(word, 10**9))
        return builder.add(whole, nanoseconds)

    return types.int64(), generate


@compiled
def flag_barrier(flags, me, turn, spins):
    """Say that this rank has come to its `turn`, and wait for all others to.

    It looks `spins` times before it offers its core; with none it naps between looks.
    """
    start, line = flags.ctypes.data, flags.strides[0]
    _store(np.uintp(start + me * line), turn)
    for rank in range(flags.shape[0]):
        looked = 0
        while _load(np.uintp(start + rank * line)) < turn:
            looked += 1
            if spins == 0:
                _nap(np.uint32(NAP))
            elif looked > spins:
                _offer_core()


@compiled
def copy(rows, out):
    """out <- rows, for two matrices; an assignment would take seconds to compile."""
    for k in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[k, j] = rows[k, j]


@compiled
def tree_sum(mine, shared, place, turn, pairs, out):
    """Sum all ranks' partial sums into out[0]; `mine` (k, size) are this rank's.

    shared: slots (2, n, size), flags (ranks, line); place: (rank, first slot, spins).
    """
    (slots, flags), (me, first, spins) = shared, place
    slot = slots[turn % 2]
    copy(mine, slot[first : first + mine.shape[0]])
    flag_barrier(flags, me, turn, spins)
    copy(slot, out)
    for k in range(pairs.shape[0]):
        left, right = out[pairs[k, 0]], out[pairs[k, 1]]
        for j in range(left.size):
            left[j] += right[j]
