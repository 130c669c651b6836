"""Dot products and scaled sums of rows, in vectors that are written out.

A compiler left to itself takes up to 31 columns of a row singly, and vectors as wide as
the processor has. Here all columns are taken in vectors, of 128 bytes and then of
halves of that, with fused multiplication: faster, and added in the same order on any.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

BYTES = 128
INT64 = ir.IntType(64)


class VectorLoopEmitter:
    """Generates the code of a loop over `count` numbers, a vector at a time."""

    def __init__(self, context, builder, dtype, count, most=BYTES):
        self.builder, self.count = builder, count
        self.number, self.bytes = context.get_data_type(dtype), dtype.bitwidth // 8
        self.most = most // self.bytes

    def each(self, body, between=lambda lanes: None):
        """Generate body(lanes, place) in a loop, and once for every half vector left.

        `between` is called as the lanes halve, outside the test whether some are left.
        """
        builder, lanes = self.builder, self.most
        at = builder.and_(self.count, INT64(-lanes))
        with cgutils.for_range_slice(builder, INT64(0), at, INT64(lanes)) as (j, _):
            body(lanes, j)
        while lanes := lanes // 2:
            between(lanes)
            some = builder.and_(self.count, INT64(lanes))
            with builder.if_then(builder.icmp_unsigned("!=", some, INT64(0))):
                body(lanes, at)
            at = builder.add(at, some)

    def vector(self, lanes):
        """Return the type of so many numbers."""
        return ir.VectorType(self.number, lanes)

    def at(self, start, place, lanes):
        """Return the pointer to a vector that begins at a place."""
        pointer = self.vector(lanes).as_pointer()
        return self.builder.bitcast(self.builder.gep(start, [place]), pointer)

    def load(self, start, place, lanes):
        """Load a vector, which may lie anywhere."""
        return self.builder.load(self.at(start, place, lanes), align=1)

    def shifted(self, start, place, lanes, shift):
        """Load a vector, less the one at its place in `shift` unless that is None."""
        values = self.load(start, place, lanes)
        if shift is None:
            return values
        return self.builder.fsub(values, self.load(shift, place, lanes))

    def spread(self, value, lanes):
        """Return a vector of one value."""
        vector, first = self.vector(lanes), ir.IntType(32)(0)
        lone = self.builder.insert_element(vector(ir.Undefined), value, first)
        zeros = ir.VectorType(ir.IntType(32), lanes)([0] * lanes)
        return self.builder.shuffle_vector(lone, vector(ir.Undefined), zeros)

    def halved(self, values, lanes):
        """Return the sum of the lower and the upper half of a vector."""
        none, numbers = values.type(ir.Undefined), ir.VectorType(ir.IntType(32), lanes)
        halves = (range(lanes), range(lanes, 2 * lanes))
        return self.builder.fadd(
            *(
                self.builder.shuffle_vector(values, none, numbers([*half]))
                for half in halves
            )
        )

    def fused(self, a, b, c):
        """Return a b + c, rounded once."""
        kind = ir.FunctionType(a.type, [a.type] * 3)
        name = f"llvm.fma.v{a.type.count}f{8 * self.bytes}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a, b, c])


def _begin(context, builder, kind, value, i):
    """Return where row i of a matrix begins, and how many numbers it has."""
    found = context.make_array(kind)(context, builder, value)
    shape = cgutils.unpack_tuple(builder, found.shape)
    return builder.gep(found.data, [builder.mul(i, shape[-1])]), shape[-1]


def _beginning(context, builder, kind, value):
    """Return where an array begins, or None where it is None."""
    if isinstance(kind, types.NoneType):
        return None
    return context.make_array(kind)(context, builder, value).data


@intrinsic
def _dot(typingctx, w, X, i, shift):
    def generate(context, builder, signature, args):
        a, count = _begin(context, builder, w, args[0], INT64(0))
        b, _ = _begin(context, builder, X, args[1], args[2])
        code = VectorLoopEmitter(context, builder, w.dtype, count)
        less = _beginning(context, builder, shift, args[3])
        totals = {}  # number of lanes -> where their sums lie

        def total(lanes, values):
            totals[lanes] = cgutils.alloca_once(builder, code.vector(lanes))
            builder.store(values, totals[lanes])

        def take(lanes, place):
            factors = code.load(a, place, lanes), code.shifted(b, place, lanes, less)
            sums = code.fused(*factors, builder.load(totals[lanes]))
            builder.store(sums, totals[lanes])

        def halve(lanes):
            total(lanes, code.halved(builder.load(totals[2 * lanes]), lanes))

        total(code.most, code.vector(code.most)([0.0] * code.most))
        code.each(take, halve)
        return builder.extract_element(builder.load(totals[1]), ir.IntType(32)(0))

    return w.dtype(w, X, types.int64, shift), generate


@intrinsic
def _add(typingctx, out, r, X, i, shift):
    def generate(context, builder, signature, args):
        a, count = _begin(context, builder, out, args[0], INT64(0))
        b, _ = _begin(context, builder, X, args[2], args[3])
        code = VectorLoopEmitter(context, builder, out.dtype, count)
        less = _beginning(context, builder, shift, args[4])

        def take(lanes, place):
            row = code.shifted(b, place, lanes, less)
            factors = row, code.spread(args[1], lanes)
            sums = code.fused(*factors, code.load(a, place, lanes))
            builder.store(sums, code.at(a, place, lanes), align=1)

        code.each(take)
        return context.get_dummy_value()

    return types.void(out, out.dtype, X, types.int64, shift), generate


def dot(w, X, i, shift=None):
    """Return (x - shift) · w for row i of X (n, d), in compiled code.

    The arrays are of one type; `shift` is (d,) or None, and takes an X in one piece.
    """


def axpy(out, r, X, i, shift=None):
    """out <- out + r (x - shift) for row i of X, in place, in compiled code."""


def _in_one_piece(w, X, shift):
    if w.layout == X.layout == "C":
        return True
    if isinstance(shift, types.Array):
        raise TypingError("rows that are shifted must lie in one piece")
    return False


@overload(dot, inline="always")
def _fitting_dot(w, X, i, shift=None):
    if _in_one_piece(w, X, shift):
        return lambda w, X, i, shift=None: _dot(w, X, i, shift)

    def strided(w, X, i, shift=None):
        total = w.dtype.type(0)
        for j in range(w.size):
            total += X[i, j] * w[j]
        return total

    return strided


@overload(axpy, inline="always")
def _fitting_add(out, r, X, i, shift=None):
    if _in_one_piece(out, X, shift):
        return lambda out, r, X, i, shift=None: _add(
            out, out.dtype.type(r), X, i, shift
        )

    def strided(out, r, X, i, shift=None):
        r = out.dtype.type(r)
        for j in range(out.size):
            out[j] += r * X[i, j]

    return strided
