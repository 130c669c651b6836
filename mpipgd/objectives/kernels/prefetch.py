"""Memory asked for before it is needed, for what the hardware does not foresee."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...jit import compiled, compiled_without_refcounts

PREFETCH_ROWS = 4  # rows: of 2, 4 and 8 all much the same, and a third faster than none
BYTES_AHEAD = 2048  # in rows in order: a tenth faster than what the hardware does


@intrinsic
def _prefetch(typingctx, pointer):
    """Ask the memory for the line at an address, without waiting for it."""

    def generate(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        read_soon = [ir.Constant(number, flag) for flag in (0, 3, 1)]
        line = builder.inttoptr(args[0], byte)
        builder.call(function, [line, *read_soon])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def _address(typingctx, array):
    """Return where an array lies; its `ctypes` would count a reference, atomically."""

    def generate(context, builder, signature, args):
        found = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(found.data, ir.IntType(64))

    return types.uintp(array), generate


@compiled_without_refcounts
def prefetch(array, i, j):
    """Fetch the items i … j-1 of the first axis of an array ahead."""
    start, width = np.int64(_address(array)), array.strides[0]
    first = start + i * width
    for line in range(first - first % 64, start + j * width, 64):
        _prefetch(np.uintp(line))


@compiled
def prefetch_row(X, y, i):
    """Fetch row i ahead: in shuffled order no hardware guesses what comes next.

    Its y lies elsewhere, and to wait for that alone takes a third of the time.
    """
    prefetch(y, i, i + 1)
    prefetch(X, i, i + 1)


@compiled_without_refcounts
def prefetch_ahead(X, i):
    """Fetch as much as a row, some way behind row i; past the end does no harm."""
    start, width = np.int64(_address(X)) + BYTES_AHEAD, X.strides[0]
    for line in range(start + i * width, start + (i + 1) * width, 64):
        _prefetch(np.uintp(line))
