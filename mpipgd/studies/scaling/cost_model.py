"""A model of the seconds an epoch, from what its pieces cost.

    T(P) = s·c(b, n/P) + m·x(P, v)

s steps of c seconds with b rows a worker out of its n/P, and m exchanges of v bytes an
epoch. c is as measured on one rank, between measurements c₀ + c₁ b, times what it grew
by when several ranks took such steps side by side, which share the memory. On one node
x is as measured, or α + v β. Between N nodes the fixed order has every node gather the
partial sums of all others (Thakur et al. 2005, §4, allgather):

    x = x(one node) + α ⌈log₂ N⌉ + (N - 1) v β

With steps that meet, c is that of the slowest of P ranks, were their steps independent
draws from those of the one rank.
"""

import math
from dataclasses import dataclass

import numpy as np

EXCHANGED = 0.1  # share of the time that exchanges may take, see `advice`
MODELLED = ("sync", "average", "oneshot")


@dataclass(frozen=True)
class LinearFit:
    """Seconds a + b x, fitted to measurements so that relative errors are small."""

    first: float
    each: float

    def __call__(self, x):
        return self.first + self.each * x


def fitted(x, y):
    """Return the `Line` through points, both coefficients at least 0."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    A = np.stack([1 / y, x / y], axis=1)  # least squares of the relative errors
    if len(np.unique(x)) == 1:
        return LinearFit(0.0, float(np.mean(y / np.maximum(x, 1e-300))))
    (a, b), *_ = np.linalg.lstsq(A, np.ones_like(y), rcond=None)
    if a < 0:
        return LinearFit(0.0, float((x / y).sum() / ((x / y) ** 2).sum()))
    if b < 0:
        return LinearFit(float((1 / y).sum() / ((1 / y) ** 2).sum()), 0.0)
    return LinearFit(float(a), float(b))


class CostModel:
    """What the pieces of a study's runs cost, and so what a run will take.

    `network` (latency in seconds, bandwidth in bytes/s) is what was stated of the
    network between nodes, or None; `per_node` how many ranks a node has.
    """

    def __init__(self, found, *, per_node, network=None):
        self.found, self.per_node, self.network = found, per_node, network
        far = [each for each in found["exchanges"] if each["nodes"] == 2]
        self.far = fitted(*_points(far)) if len(far) > 1 else None
        if network:
            self.far = LinearFit(network[0], 1 / network[1])

    def step(self, label, share, batch, ranks):
        """Return the seconds of a step with so many rows, of a share of all rows."""
        labelled = [
            e for e in self.found["steps"] if (e["label"], e["ranks"]) == (label, 1)
        ]
        ways = ["alone"] if ranks == 1 else ["one by one", "alone"]
        if 1 < ranks <= self.per_node:
            ways.insert(0, "marching")
        known = {each["how"] for each in labelled}
        way = next((each for each in ways if each in known), None)
        mine = [e for e in labelled if e["how"] == way] or labelled
        same = [e for e in mine if math.isclose(e["share"], share, rel_tol=1e-6)]
        exact = [_waiting(each, ranks) for each in same if each["batch"] == batch]
        more = self._crowding(label, way, ranks)
        if exact:
            return exact[0] * more
        near = min(mine, key=lambda e: abs(math.log(e["share"] / share)))
        alike = [e for e in mine if e["share"] == near["share"]]
        among = alike if len(alike) > 1 else mine
        seconds = [_waiting(each, ranks) for each in among]
        return fitted([each["batch"] for each in among], seconds)(batch) * more

    def _crowding(self, label, how, ranks):
        """Return how much longer steps take beside those of other ranks of a node."""
        mine = [
            e for e in self.found["steps"] if (e["label"], e["how"]) == (label, how)
        ]
        beside = {each["ranks"] for each in mine} - {1}
        here = ranks if ranks in beside else min(ranks, self.per_node)
        if here == 1 or not beside:
            return 1.0
        tried = min(beside, key=lambda each: abs(math.log(each / here)))
        single = {(e["share"], e["batch"]): e for e in mine if e["ranks"] == 1}
        several = [e for e in mine if e["ranks"] == tried]
        keys = [(each["share"], each["batch"]) for each in several]
        factors = [
            each["seconds"] / single[key]["seconds"]
            for each, key in zip(several, keys)
            if key in single
        ]
        return max(1.0, float(np.median(factors))) if factors else 1.0

    def rows_and_size(self, label):
        """Return how many rows the whole set has, and what is exchanged, as a dict."""
        mine = [each for each in self.found["steps"] if each["label"] == label]
        whole = max(mine, key=lambda each: each["share"])
        item = np.dtype(whole["dtype"]).itemsize
        return whole["rows"] / whole["share"], whole | {"bytes": whole["size"] * item}

    def exchange(self, ranks, size, *, apart):
        """Return the seconds of an exchange of a vector; None where nobody knows."""
        if ranks == 1:
            return 0.0
        known = [
            e for e in self.found["exchanges"]
            if (e["bytes"], e["apart"]) == (size, apart)
        ]  # fmt: skip
        exact = [each["seconds"] for each in known if each["ranks"] == ranks]
        if exact:
            return exact[0]
        nodes = -(-ranks // self.per_node)
        here = self._on_a_node(min(ranks, self.per_node), known)
        if nodes == 1:
            return here
        if self.far is None:
            return None
        far = self.far.first * math.ceil(math.log2(nodes))
        return (here or 0.0) + far + (nodes - 1) * size * self.far.each

    def _on_a_node(self, ranks, known):
        """Return the seconds among so many ranks of a node, by the nearest number."""
        near = [each for each in known if each["nodes"] == 1]
        if ranks == 1 or not near:
            return 0.0 if ranks == 1 else None
        best = min(near, key=lambda each: abs(math.log(each["ranks"] / ranks)))
        grows = math.log2(max(2, ranks)) / math.log2(best["ranks"])
        return best["seconds"] * max(1.0, grows)

    def epoch(self, label, options, ranks, share=None):
        """Return (seconds an epoch, of them in exchanges) of a run; None if unknown.

        `options` are those of the run on so many ranks; rows of a rank are a `share` of
        all, by default an equal part.
        """
        if options.strategy not in MODELLED or options.workers != ranks:
            return None
        rows, vector = self.rows_and_size(label)
        share = options.rows_share / ranks if share is None else share
        batch = min(options.batch_size, max(1, math.ceil(rows * share)))
        steps = math.ceil(rows * share / batch)
        apart = options.strategy == "sync"
        each = self.exchange(ranks, vector["bytes"], apart=apart)
        if each is None:
            return None
        sent = exchanges_per_epoch(options, steps) * each
        step = self.step(label, share, batch, ranks)
        return steps * step + sent, sent

    def advice(self, label, options, ranks):
        """Return (global batch, steps between averages) that keep exchanges at a tenth.

        The fewest with x ≤ EXCHANGED · T; None where the rows do not suffice.
        """
        rows, vector = self.rows_and_size(label)
        share = options.rows_share / ranks
        x = self.exchange(ranks, vector["bytes"], apart=True)
        whole = self.exchange(ranks, vector["bytes"], apart=False)
        if x is None or whole is None:
            return None, None
        batch, wanted = 1, (1 / EXCHANGED - 1) * x
        while batch < rows * share and self.step(label, share, batch, ranks) < wanted:
            batch *= 2
        enough = self.step(label, share, batch, ranks) >= wanted
        step = self.step(label, share, options.batch_size, ranks)
        period = max(1, math.ceil((1 / EXCHANGED - 1) * whole / step))
        return batch * ranks if enough else None, period


def _waiting(step, ranks):
    """Return the seconds of a step with the wait for the slowest of so many."""
    known = {int(key): value for key, value in step["waits"].items()} or {1: 0.0}
    waits = np.interp(math.log2(ranks), np.log2([*known]), [*known.values()])
    return step["seconds"] + float(waits)


def _points(found):
    return [each["bytes"] for each in found], [each["seconds"] for each in found]


def exchanges_per_epoch(options, steps):
    """Return how often a strategy exchanges in an epoch of so many steps."""
    if options.strategy == "sync":
        return steps
    if options.strategy == "average" and options.sync_every:
        return steps / options.sync_every
    times = options.n_sync if options.strategy == "average" else 1
    return times / max(1, options.epochs)
