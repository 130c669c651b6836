"""Prefetching of memory that the hardware does not foresee."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...jit import compiled, compiled_without_refcounts

if TYPE_CHECKING:
    from ...array_types import Array, FloatArray

PREFETCH_ROWS = 4  # 2, 4 and 8 rows are about equal, and a third faster than none
PREFETCH_BYTES = 2048  # for rows in order: a tenth faster than the hardware alone
CACHE_LINE = 64  # bytes


@intrinsic
def _prefetch(typingctx, pointer):
    """Ask for the cache line at an address, without waiting for it."""

    def generate(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], signature)
        # to be read (0), into all caches (3), data and not instructions (1)
        flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
        line = builder.inttoptr(args[0], byte)
        builder.call(function, [line, *flags])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@intrinsic
def _address(typingctx, array):
    """Return the address of an array; `array.ctypes` counts a reference, atomically."""

    def generate(context, builder, signature, args):
        struct = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(struct.data, ir.IntType(64))

    return types.uintp(array), generate


@compiled_without_refcounts
def prefetch(array: Array, i: int, j: int) -> None:
    """Prefetch the items i … j-1 of the first axis of an array."""
    start = np.int64(_address(array))
    stride = array.strides[0]
    first = start + i * stride
    for line in range(first - first % CACHE_LINE, start + j * stride, CACHE_LINE):
        _prefetch(np.uintp(line))


@compiled
def prefetch_row(X: FloatArray, y: Array, i: int) -> None:
    """Prefetch row i of X and y, for rows in shuffled order.

    y is elsewhere in memory: waiting for it alone takes a third of the time.
    """
    prefetch(y, i, i + 1)
    prefetch(X, i, i + 1)


@compiled_without_refcounts
def prefetch_ahead(X: FloatArray, i: int) -> None:
    """Prefetch as many bytes as a row has, `PREFETCH_BYTES` behind the start of row i.

    For rows that are read in order. Past the end of X it does no harm.
    """
    start = np.int64(_address(X)) + PREFETCH_BYTES
    stride = X.strides[0]
    for line in range(start + i * stride, start + (i + 1) * stride, CACHE_LINE):
        _prefetch(np.uintp(line))
