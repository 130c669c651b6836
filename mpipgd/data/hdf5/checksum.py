"""The checksum that HDF5 keeps of a chunk, at the speed of memory."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...jit import compiled

LANES = 32  # words of 16 bits at once
MOST = 256  # vectors until a lane of 32 bits could overflow


@intrinsic
def _sums(typingctx, data, start, count):
    """Return Σ w and Σ (n - i) w of n = 32 count words from byte `start` on.

    In lanes: A is the sum of the vectors, B that of A after each of them; a word in
    lane l of vector t then is (count - t) times in B, and weighs 32 (count - t) - l.
    """

    def generate(context, builder, signature, args):
        words, lanes, sums = (
            ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32, 64)
        )
        found = context.make_array(data)(context, builder, args[0])
        first = builder.bitcast(builder.gep(found.data, [args[1]]), words.as_pointer())
        a, b = (cgutils.alloca_once_value(builder, lanes([0] * LANES)) for _ in "ab")
        with cgutils.for_range(builder, args[2]) as loop:
            some = builder.load(builder.gep(first, [loop.index]), align=1)
            total = builder.add(builder.load(a), builder.zext(some, lanes))
            builder.store(total, a)
            builder.store(builder.add(builder.load(b), total), b)
        plain, weighed = (builder.zext(builder.load(each), sums) for each in (a, b))
        weighed = builder.sub(
            builder.mul(weighed, sums([LANES] * LANES)),
            builder.mul(plain, sums([*range(LANES)])),
        )
        kind = ir.FunctionType(ir.IntType(64), [sums])
        name = f"llvm.vector.reduce.add.v{LANES}i64"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        each = [builder.call(reduce, [some]) for some in (plain, weighed)]
        return context.make_tuple(builder, signature.return_type, each)

    pair = types.UniTuple(types.int64, 2)
    return pair(data, types.int64, types.int64), generate


@compiled
def fletcher32_matches(data, start, size):
    """Do `size` bytes of `data` (uint8) agree with the checksum in the next four?

    `size` is even. Fletcher's checksum: s1 = Σ w and s2 = Σ (n - i) w over n words of
    16 bits, both modulo 65535. HDF5 takes words and sums with their bytes the other
    way round, which modulo 65535 is the same. Source: Fletcher 1982, "An arithmetic
    checksum for serial transmissions".
    """
    s1, s2, at, left = 0, 0, start, size // 2
    while left >= LANES:
        count = min(MOST, left // LANES)
        a, b = _sums(data, at, count)
        s1, s2 = (s1 + a) % 65535, (s2 + LANES * count * s1 + b) % 65535
        at, left = at + 2 * LANES * count, left - LANES * count
    for i in range(at, at + 2 * left, 2):
        w = np.int64(data[i]) + 256 * np.int64(data[i + 1])
        s1, s2 = (s1 + w) % 65535, (s2 + s1 + w) % 65535
    end = start + size
    same = (256 * np.int64(data[end]) + data[end + 1]) % 65535 == s1
    return same and (256 * np.int64(data[end + 2]) + data[end + 3]) % 65535 == s2
