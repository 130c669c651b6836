"""The fixed order in which workers are summed: a binary tree over their numbers.

The leaves are the workers 0 … W-1, padded with absent leaves to a power of two. A
node (start, length) of the tree covers the workers start … start+length-1, with
start a multiple of length. Sums depend on W alone, whoever computes which node.
"""


def cover_range(lo, hi, workers):
    """Return the fewest nodes (start, length) that cover the workers lo … hi-1.

    A range that ends with the last worker takes the absent leaves along, so that it
    needs no more nodes than one that ends at a power of two.
    """
    end = 1 << (workers - 1).bit_length() if hi == workers else hi
    nodes = []
    while lo < min(end, workers):
        length = lo & -lo or 1 << (end - 1).bit_length()
        while lo + length > end:
            length //= 2
        nodes.append((lo, length))
        lo += length
    return nodes


def merge_schedule(nodes, workers):
    """Return the sums (i, j) that finish a list of nodes, and the nodes left over.

    Each pair says: add entry j to entry i. Neighbours merge when they are the two
    halves of a node; the list must be in the order of the workers. The entries left
    over are (index, node).
    """
    pairs, stack = [], []
    for index, (start, length) in enumerate(nodes):
        length = _padded_length(start, length, workers)
        while stack and stack[-1][2] == length and start % (2 * length):
            left, start, length = stack.pop()
            pairs.append((left, index))
            index, length = left, _padded_length(start, 2 * length, workers)
        stack.append((index, start, length))
    return pairs, [(index, (start, length)) for index, start, length in stack]


def _padded_length(start, length, workers):
    """Return the length of the largest node that adds only absent leaves."""
    while start + length >= workers and start % (2 * length) == 0 and length < workers:
        length *= 2
    return length


def sum_rows(rows):
    """Sum rows (m, …) of one node into rows[0], in place, in the order of the tree."""
    stride, m = 1, len(rows)
    while stride < m:
        right = rows[stride :: 2 * stride]
        left = rows[:: 2 * stride][: len(right)]
        left += right
        stride *= 2
    return rows[0]


def tree_reduce(items, merge):
    """Merge a node's items, one a worker, in the order of the tree; any values."""
    items = list(items)
    while len(items) > 1:
        pairs = [merge(*items[i : i + 2]) for i in range(0, len(items) - 1, 2)]
        items = pairs + items[2 * len(pairs) :]
    return items[0]


def tree_allreduce_objects(grid, items, merge):
    """Merge one item a hosted worker over all workers, in the order of the tree.

    For the few numbers of an evaluation and the like: items are any picklable values.
    Collective; returns the same value on all ranks.
    """
    items, nodes = list(items), grid.subtrees_of[grid.comm.rank]
    firsts = [start - grid.first for start, _ in nodes]
    mine = [
        tree_reduce(items[a : a + length], merge)
        for a, (_, length) in zip(firsts, nodes)
    ]
    partials = [each for rank in grid.comm.allgather(mine) for each in rank]
    pairs, _ = merge_schedule(
        [n for nodes in grid.subtrees_of for n in nodes], grid.workers
    )
    for i, j in pairs:
        partials[i] = merge(partials[i], partials[j])
    return partials[0]
