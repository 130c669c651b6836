"""The sum through memory that the ranks of one node share, in one compiled call.

Each rank sets a flag in that memory when its partial sums are written, and polls the
flags of the others, without a call of the MPI library. Flags are loaded and stored
atomically, with acquire and release order, which is correct on any processor.
Additions are in tree order and not reassociated: the bits are those of numpy.

Imported only where an objective is compiled, as importing numba takes 0.3 s.
"""

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from ..array_types import FloatArray, IntArray

SLEEP_MICROSECONDS = 20
CLOCK_MONOTONIC = 1  # of clock_gettime(2)

compiled = njit(cache=True, nogil=True)


@intrinsic
def _load(typingctx, address):
    """Return the int64 at an address, with acquire order."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.uintp), generate


@intrinsic
def _store(typingctx, address, value):
    """Set the int64 at an address, with release order."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64), generate


def _call(builder, name, args):
    """Call a function of the C library that returns an int."""
    kind = ir.FunctionType(ir.IntType(32), [arg.type for arg in args])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, name), args
    )


@intrinsic
def _yield_core(typingctx):
    """Let another process run on this core, if one is ready."""

    def generate(context, builder, signature, args):
        return _call(builder, "sched_yield", [])

    return types.int32(), generate


@intrinsic
def _sleep(typingctx, microseconds):
    """Sleep, so that another rank can use the core."""

    def generate(context, builder, signature, args):
        return _call(builder, "usleep", args)

    return types.int32(types.uint32), generate


@intrinsic
def clock_ns(typingctx: object) -> tuple[Signature, Callable[..., object]]:
    """Return the nanoseconds (int64) of the clock of `time.perf_counter`."""

    def generate(context, builder, signature, args):
        word = ir.IntType(64)
        time = cgutils.alloca_once(builder, ir.ArrayType(word, 2))
        _call(
            builder,
            "clock_gettime",
            [ir.Constant(ir.IntType(32), CLOCK_MONOTONIC), time],
        )
        seconds, nanoseconds = (
            builder.extract_value(builder.load(time), k) for k in (0, 1)
        )
        nanoseconds_of_seconds = builder.mul(seconds, ir.Constant(word, 10**9))
        return builder.add(nanoseconds_of_seconds, nanoseconds)

    return types.int64(), generate


@compiled
def flag_barrier(flags: IntArray, rank: int, round: int, spin_limit: int) -> None:
    """Set this rank's flag to `round`, and wait until all flags have reached it.

    Polls `spin_limit` times before it yields the core; with 0 it sleeps between polls.
    """
    start, line = flags.ctypes.data, flags.strides[0]
    _store(np.uintp(start + rank * line), round)
    for other in range(flags.shape[0]):
        polls = 0
        while _load(np.uintp(start + other * line)) < round:
            polls += 1
            if spin_limit == 0:
                _sleep(np.uint32(SLEEP_MICROSECONDS))
            elif polls > spin_limit:
                _yield_core()


@compiled
def copy_rows(rows: FloatArray, out: FloatArray) -> None:
    """out <- rows, two matrices, number by number: numba compiles an assignment of
    arrays for seconds."""
    for k in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[k, j] = rows[k, j]


@compiled
def tree_sum(
    local_sums: FloatArray,
    slots: FloatArray,
    flags: IntArray,
    rank: int,
    first_slot: int,
    spin_limit: int,
    round: int,
    pairs: IntArray,
    out: FloatArray,
) -> None:
    """Sum the partial sums of all ranks into out[0]; see `SharedMemoryRound`.

    local_sums (k, size): those of this rank. Arguments come one by one, as numba takes
    microseconds longer to unpack a NamedTuple that Python passes.
    """
    slot = slots[round % 2]
    copy_rows(local_sums, slot[first_slot : first_slot + local_sums.shape[0]])
    flag_barrier(flags, rank, round, spin_limit)
    copy_rows(slot, out)
    for k in range(pairs.shape[0]):
        left, right = out[pairs[k, 0]], out[pairs[k, 1]]
        for j in range(left.size):
            left[j] += right[j]
