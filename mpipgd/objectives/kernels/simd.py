"""Dot products and axpy over a row of a matrix, with explicit vector instructions.

Left to itself, the compiler takes up to 31 columns of a row one by one, and vectors as
wide as the processor has. Here LLVM code is generated that takes all columns in vectors
of 128 bytes, then in halves of that, with fused multiply-add. That is faster, and adds
in the same order on every processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...array_types import FloatArray

VECTOR_BYTES = 128
INT32, INT64 = ir.IntType(32), ir.IntType(64)


class VectorLoopEmitter:
    """Emits the code of a loop over `count` numbers, one vector per iteration.

    `builder` is an llvmlite IRBuilder; `dtype` the numba type of the numbers, and
    `vector_bytes` the size of the widest vector. Pointers and indices are LLVM values;
    `lanes`, the number of elements of a vector, is a Python int.
    """

    def __init__(
        self,
        context: Any,
        builder: Any,
        dtype: Any,
        count: Any,
        vector_bytes: int = VECTOR_BYTES,
    ) -> None:
        self.builder, self.count = builder, count
        self.element_type = context.get_data_type(dtype)
        self.element_bytes = dtype.bitwidth // 8
        self.max_lanes = vector_bytes // self.element_bytes

    def emit_loop(
        self,
        body: Callable[[int, Any], None],
        between: Callable[[int], None] = lambda lanes: None,
    ) -> None:
        """Emit body(lanes, index) as a loop, then once for each half-sized vector left.

        `between(lanes)` is emitted before each half-sized vector, outside the test
        whether so many elements are left.
        """
        builder, lanes = self.builder, self.max_lanes
        index = builder.and_(self.count, INT64(-lanes))
        with cgutils.for_range_slice(builder, INT64(0), index, INT64(lanes)) as (j, _):
            body(lanes, j)
        while lanes := lanes // 2:
            between(lanes)
            rest = builder.and_(self.count, INT64(lanes))
            with builder.if_then(builder.icmp_unsigned("!=", rest, INT64(0))):
                body(lanes, index)
            index = builder.add(index, rest)

    def vector_type(self, lanes: int) -> Any:
        """Return the LLVM type of a vector."""
        return ir.VectorType(self.element_type, lanes)

    def pointer(self, start: Any, index: Any, lanes: int) -> Any:
        """Return the pointer to the vector that begins with element start[index]."""
        pointer = self.vector_type(lanes).as_pointer()
        return self.builder.bitcast(self.builder.gep(start, [index]), pointer)

    def load(self, start: Any, index: Any, lanes: int) -> Any:
        """Load the vector at start[index], with any alignment."""
        return self.builder.load(self.pointer(start, index, lanes), align=1)

    def store(self, vector: Any, start: Any, index: Any, lanes: int) -> None:
        """Store a vector at start[index], with any alignment."""
        self.builder.store(vector, self.pointer(start, index, lanes), align=1)

    def load_shifted(self, start: Any, index: Any, lanes: int, shift: Any) -> Any:
        """Load the vector at start[index], less that at shift[index] if any."""
        values = self.load(start, index, lanes)
        if shift is None:
            return values
        return self.builder.fsub(values, self.load(shift, index, lanes))

    def broadcast(self, value: Any, lanes: int) -> Any:
        """Return a vector with the same value in all elements."""
        vector = self.vector_type(lanes)
        first = self.builder.insert_element(vector(ir.Undefined), value, INT32(0))
        zeros = ir.VectorType(INT32, lanes)([0] * lanes)
        return self.builder.shuffle_vector(first, vector(ir.Undefined), zeros)

    def horizontal_half_sum(self, values: Any, lanes: int) -> Any:
        """Return the lower half of a vector of 2 `lanes` plus the upper half."""
        undefined = values.type(ir.Undefined)
        indices = ir.VectorType(INT32, lanes)
        lower, upper = (
            self.builder.shuffle_vector(values, undefined, indices([*half]))
            for half in (range(lanes), range(lanes, 2 * lanes))
        )
        return self.builder.fadd(lower, upper)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c, rounded once."""
        signature = ir.FunctionType(a.type, [a.type] * 3)
        name = f"llvm.fma.v{a.type.count}f{8 * self.element_bytes}"
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, [a, b, c])


def _row(context, builder, kind, value, i):
    """Return the pointer to row i of a matrix (or to a vector), and its length."""
    array = context.make_array(kind)(context, builder, value)
    shape = cgutils.unpack_tuple(builder, array.shape)
    return builder.gep(array.data, [builder.mul(i, shape[-1])]), shape[-1]


def _data_or_none(context, builder, kind, value):
    """Return the pointer to an array's elements, or None for None."""
    if isinstance(kind, types.NoneType):
        return None
    return context.make_array(kind)(context, builder, value).data


@intrinsic
def _dot(typingctx, w, X, i, shift):
    def generate(context, builder, signature, args):
        a, count = _row(context, builder, w, args[0], INT64(0))
        b, _ = _row(context, builder, X, args[1], args[2])
        emitter = VectorLoopEmitter(context, builder, w.dtype, count)
        less = _data_or_none(context, builder, shift, args[3])
        totals = {}  # lanes -> stack slot of the vector of partial sums

        def init_total(lanes, values):
            totals[lanes] = cgutils.alloca_once(builder, emitter.vector_type(lanes))
            builder.store(values, totals[lanes])

        def accumulate(lanes, index):
            factors = (
                emitter.load(a, index, lanes),
                emitter.load_shifted(b, index, lanes, less),
            )
            sums = emitter.fma(*factors, builder.load(totals[lanes]))
            builder.store(sums, totals[lanes])

        def halve(lanes):
            wide = builder.load(totals[2 * lanes])
            init_total(lanes, emitter.horizontal_half_sum(wide, lanes))

        lanes = emitter.max_lanes
        init_total(lanes, emitter.vector_type(lanes)([0.0] * lanes))
        emitter.emit_loop(accumulate, halve)
        return builder.extract_element(builder.load(totals[1]), INT32(0))

    return w.dtype(w, X, types.int64, shift), generate


@intrinsic
def _axpy(typingctx, out, r, X, i, shift):
    def generate(context, builder, signature, args):
        a, count = _row(context, builder, out, args[0], INT64(0))
        b, _ = _row(context, builder, X, args[2], args[3])
        emitter = VectorLoopEmitter(context, builder, out.dtype, count)
        less = _data_or_none(context, builder, shift, args[4])

        def add(lanes, index):
            row = emitter.load_shifted(b, index, lanes, less)
            factor = emitter.broadcast(args[1], lanes)
            sums = emitter.fma(row, factor, emitter.load(a, index, lanes))
            emitter.store(sums, a, index, lanes)

        emitter.emit_loop(add)
        return context.get_dummy_value()

    return types.void(out, out.dtype, X, types.int64, shift), generate


def dot(w: FloatArray, X: FloatArray, i: int, shift: FloatArray | None = None) -> float:
    """Return (x - shift) · w for row i of X (n, d); to be called in compiled code.

    The arrays have one dtype. `shift` is (d,) or None, and takes a contiguous X.
    """
    raise NotImplementedError("numba compiles the overload below")


def axpy(
    out: FloatArray, r: float, X: FloatArray, i: int, shift: FloatArray | None = None
) -> None:
    """out <- out + r (x - shift) for row i of X, in place; as `dot`."""
    raise NotImplementedError("numba compiles the overload below")


def _are_contiguous(w, X, shift):
    if w.layout == X.layout == "C":
        return True
    if isinstance(shift, types.Array):
        raise TypingError("rows that are shifted must be contiguous")
    return False


@overload(dot, inline="always")
def _choose_dot(w, X, i, shift=None):
    if _are_contiguous(w, X, shift):
        return lambda w, X, i, shift=None: _dot(w, X, i, shift)

    def strided(w, X, i, shift=None):
        total = w.dtype.type(0)
        for j in range(w.size):
            total += X[i, j] * w[j]
        return total

    return strided


@overload(axpy, inline="always")
def _choose_axpy(out, r, X, i, shift=None):
    if _are_contiguous(out, X, shift):
        return lambda out, r, X, i, shift=None: _axpy(
            out, out.dtype.type(r), X, i, shift
        )

    def strided(out, r, X, i, shift=None):
        r = out.dtype.type(r)
        for j in range(out.size):
            out[j] += r * X[i, j]

    return strided
