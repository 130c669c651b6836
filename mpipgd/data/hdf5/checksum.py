"""The checksum that HDF5 stores with a chunk, verified at the speed of memory."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...array_types import ByteArray
from ...jit import compiled

LANES = 32  # words of 16 bits in a vector
MAX_VECTORS = 256  # vectors until the sums in lanes of 32 bits could overflow


@intrinsic
def _sums(typingctx: Any, data: Any, start: Any, count: Any) -> Any:
    """Return Σ w and Σ (n - i) w of n = 32 count words from byte `start` on.

    Per lane, A is the sum of the vectors so far, and B the sum of the A after each
    vector. A word in lane l of vector t is counted (count - t) times in B, and its
    weight in the second sum is 32 (count - t) - l; so that is 32 Σ B - Σ l A.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, lanes, sums = (
            ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32, 64)
        )
        array = context.make_array(data)(context, builder, args[0])
        first = builder.bitcast(builder.gep(array.data, [args[1]]), words.as_pointer())
        a, b = (cgutils.alloca_once_value(builder, lanes([0] * LANES)) for _ in "ab")
        with cgutils.for_range(builder, args[2]) as loop:
            vector = builder.load(builder.gep(first, [loop.index]), align=1)
            total = builder.add(builder.load(a), builder.zext(vector, lanes))
            builder.store(total, a)
            builder.store(builder.add(builder.load(b), total), b)
        plain, weighted = (builder.zext(builder.load(ptr), sums) for ptr in (a, b))
        weighted = builder.sub(
            builder.mul(weighted, sums([LANES] * LANES)),
            builder.mul(plain, sums([*range(LANES)])),
        )
        kind = ir.FunctionType(ir.IntType(64), [sums])
        name = f"llvm.vector.reduce.add.v{LANES}i64"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        totals = [builder.call(reduce, [vector]) for vector in (plain, weighted)]
        return context.make_tuple(builder, signature.return_type, totals)

    pair = types.UniTuple(types.int64, 2)
    return pair(data, types.int64, types.int64), generate


@compiled
def fletcher32_matches(data: ByteArray, start: int, size: int) -> bool:
    """Do `size` bytes of `data` (uint8) agree with the checksum in the next four?

    `size` is even. Fletcher's checksum: s1 = Σ w and s2 = Σ (n - i) w over n words of
    16 bits, both modulo 65535. HDF5 swaps the bytes of words and sums, which modulo
    65535 gives the same sums, also byte-swapped. Source: Fletcher 1982, "An arithmetic
    checksum for serial transmissions".
    """
    s1, s2, at, left = 0, 0, start, size // 2
    while left >= LANES:
        count = min(MAX_VECTORS, left // LANES)
        # the decorator passes `typingctx`, which mypy does not see
        a, b = _sums(data, at, count)  # type: ignore[var-annotated]
        s1, s2 = (s1 + a) % 65535, (s2 + LANES * count * s1 + b) % 65535
        at, left = at + 2 * LANES * count, left - LANES * count
    for i in range(at, at + 2 * left, 2):
        w: Any = np.int64(data[i]) + 256 * np.int64(data[i + 1])
        s1, s2 = (s1 + w) % 65535, (s2 + s1 + w) % 65535
    end = start + size
    same = (256 * np.int64(data[end]) + data[end + 1]) % 65535 == s1
    return same and (256 * np.int64(data[end + 2]) + data[end + 3]) % 65535 == s2
