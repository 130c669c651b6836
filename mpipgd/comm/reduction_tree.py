"""The fixed order in which workers are summed: a binary tree over worker numbers.

The leaves are the workers 0 … W-1, padded with absent leaves to a power of two. The
subtree (start, length) covers the workers start … start+length-1; start is a multiple
of length. Sums depend on W only, whichever rank computes which subtree: floating-point
addition is not associative, so that this order is what makes results bit-identical on
any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from .mpi import Comm
    from .topology import Grid

T = TypeVar("T")


class Subtree(NamedTuple):
    """The workers start … start+length-1; length is a power of two."""

    start: int
    length: int


def cover_range(first: int, last: int, workers: int) -> list[Subtree]:
    """Return the fewest subtrees that cover the workers first … last-1, in order.

    A range that ends with the last worker includes the absent leaves after it, so that
    it needs no more subtrees than one that ends at a power of two.
    """
    end = 1 << (workers - 1).bit_length() if last == workers else last
    subtrees = []
    start = first
    while start < min(end, workers):
        length = start & -start or 1 << (end - 1).bit_length()
        while start + length > end:
            length //= 2
        subtrees.append(Subtree(start, length))
        start += length
    return subtrees


class MergeSchedule(NamedTuple):
    """The additions that finish a list of partial sums as far as possible.

    `pairs` (i, j), in order: add entry j to entry i. `remaining` are the entries that
    are left then, as (index, subtree): one, index 0, where all workers are there.
    """

    pairs: list[tuple[int, int]]
    remaining: list[tuple[int, Subtree]]


def merge_schedule(subtrees: Sequence[Subtree], workers: int) -> MergeSchedule:
    """Return how to merge the sums of `subtrees`, which are in the order of workers.

    Neighbours merge when they are the two halves of a subtree.
    """
    pairs: list[tuple[int, int]] = []
    stack: list[tuple[int, int, int]] = []  # index, start, padded length
    for index, (start, length) in enumerate(subtrees):
        length = _padded_length(start, length, workers)
        while stack and stack[-1][2] == length and start % (2 * length):
            left, start, length = stack.pop()
            pairs.append((left, index))
            index, length = left, _padded_length(start, 2 * length, workers)
        stack.append((index, start, length))
    remaining = [(index, Subtree(start, length)) for index, start, length in stack]
    return MergeSchedule(pairs, remaining)


def _padded_length(start: int, length: int, workers: int) -> int:
    """Return the length of the largest subtree that has the same workers.

    It is longer where its further leaves would be workers that do not exist.
    """
    while start + length >= workers and start % (2 * length) == 0 and length < workers:
        length *= 2
    return length


def sum_rows(rows: FloatArray) -> FloatArray:
    """Sum the rows (m, …) of one subtree into rows[0], in place, in tree order."""
    stride, m = 1, len(rows)
    while stride < m:
        right = rows[stride :: 2 * stride]
        left = rows[:: 2 * stride][: len(right)]
        left += right
        stride *= 2
    return rows[0]


def tree_reduce(items: Iterable[T], merge: Callable[[T, T], T]) -> T:
    """Merge the items of one subtree, one a worker, in tree order; any values."""
    items = list(items)
    while len(items) > 1:
        pairs = [merge(*items[i : i + 2]) for i in range(0, len(items) - 1, 2)]
        items = pairs + items[2 * len(pairs) :]
    return items[0]


def tree_allreduce_objects(
    grid: Grid, items: Iterable[T], merge: Callable[[T, T], T]
) -> T:
    """Merge one item of each worker over all workers, in tree order; collective.

    `items` are those of this rank's workers, any values that can be pickled: for the
    few numbers of an evaluation. Returns the same value on all ranks.
    """
    items, subtrees = list(items), grid.subtrees_of[grid.comm.rank]
    local = [
        tree_reduce(items[start - grid.first : start - grid.first + length], merge)
        for start, length in subtrees
    ]
    partials = [item for of_rank in grid.comm.allgather(local) for item in of_rank]
    all_subtrees = [subtree for of_rank in grid.subtrees_of for subtree in of_rank]
    for i, j in merge_schedule(all_subtrees, grid.workers).pairs:
        partials[i] = merge(partials[i], partials[j])
    return partials[0]


class SubtreeSums(Generic[T]):
    """Values of leaves 0 … n-1 that are merged in tree order while they are added.

    For leaves that are not workers, as blocks of rows; each is added on one rank. As
    many values are held as there are subtrees in a rank's leaves, not one a leaf.
    """

    def __init__(self, merge: Callable[[T, T], T]) -> None:
        self._merge = merge
        self._partials: list[tuple[Subtree, T]] = []

    def add(self, leaf: int, value: T) -> None:
        """Add the value of a leaf; leaves come in rising order."""
        subtree = Subtree(leaf, 1)
        while self._partials:
            (start, length), left = self._partials[-1]
            neighbours = start + length == subtree.start and length == subtree.length
            if not neighbours or start % (2 * length):
                break
            self._partials.pop()
            subtree, value = Subtree(start, 2 * length), self._merge(left, value)
        self._partials.append((subtree, value))

    def allreduce(self, comm: Comm, leaves: int) -> T:
        """Return the merged value of all leaves, of all ranks; collective."""
        gathered = [
            part for of_rank in comm.allgather(self._partials) for part in of_rank
        ]
        gathered.sort(key=lambda part: part[0].start)
        subtrees, values = [s for s, _ in gathered], [value for _, value in gathered]
        for i, j in merge_schedule(subtrees, leaves).pairs:
            values[i] = self._merge(values[i], values[j])
        return values[0]
