"""A model of the seconds an epoch, from the costs of its steps and exchanges.

    T(P) = s·c(b, n/P) + m·x(P, v)

s steps of c seconds with b rows a worker out of its n/P, and m exchanges of v bytes an
epoch. c is as measured on one rank, between measurements c₀ + c₁ b, times the factor
by which it grew when several ranks of a node took such steps at once, for they share
the memory. On one node x is as measured, or α + v β. Between N nodes the fixed order
has every node gather the partial sums of all others (Thakur et al. 2005, §4,
allgather):

    x = x(one node) + α ⌈log₂ N⌉ + (N - 1) v β

If every step ends with an exchange, c is that of the slowest of P ranks, as if their
steps were independent draws from those of one rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...config.options import TrainConfig
from .network import Network

MAX_EXCHANGE_SHARE = 0.1  # share of the time that exchanges may take, see `advice`
MODELLED = ("sync", "average", "oneshot")


@dataclass(frozen=True)
class LinearFit:
    """Seconds a + b x, fitted to measurements so that relative errors are small."""

    intercept: float
    slope: float

    def __call__(self, x: float) -> float:
        return self.intercept + self.slope * x


def fit_line(points: Sequence[float], seconds: Sequence[float]) -> LinearFit:
    """Return the line through points, both coefficients at least 0."""
    x, y = np.asarray(points, float), np.asarray(seconds, float)
    A = np.stack([1 / y, x / y], axis=1)  # least squares of the relative errors
    if len(np.unique(x)) == 1:
        return LinearFit(0.0, float(np.mean(y / np.maximum(x, 1e-300))))
    (a, b), *_ = np.linalg.lstsq(A, np.ones_like(y), rcond=None)
    if a < 0:
        return LinearFit(0.0, float((x / y).sum() / ((x / y) ** 2).sum()))
    if b < 0:
        return LinearFit(float((1 / y).sum() / ((1 / y) ** 2).sum()), 0.0)
    return LinearFit(float(a), float(b))


class EpochCost(NamedTuple):
    """Seconds of an epoch, and how many of them are spent in exchanges."""

    seconds: float
    exchanges: float


class CostModel:
    """What a run will take, from the measured costs of steps and exchanges.

    `measured` has the lists "steps" and "exchanges" of `calibrate.read`; `network` is
    what the user stated about the network between nodes, or None; `per_node` is the
    number of ranks on a node. `internode` is None where no network is known.
    """

    def __init__(
        self,
        measured: dict[str, Any],
        *,
        per_node: int,
        network: Network | None = None,
    ) -> None:
        self.steps: list[dict[str, Any]] = measured["steps"]
        self.exchanges: list[dict[str, Any]] = measured["exchanges"]
        self.per_node, self.network = per_node, network
        between_two = [e for e in self.exchanges if e["nodes"] == 2]
        self.internode = None
        if len(between_two) > 1:
            self.internode = fit_line(
                [e["bytes"] for e in between_two], [e["seconds"] for e in between_two]
            )
        if network:
            self.internode = LinearFit(network.latency, 1 / network.bandwidth)

    def step(self, label: str, share: float, batch: int, ranks: int) -> float:
        """Return the seconds of a step with `batch` rows out of a share of all rows."""
        labelled = [s for s in self.steps if (s["label"], s["ranks"]) == (label, 1)]
        ways = ["alone"] if ranks == 1 else ["one by one", "alone"]
        if 1 < ranks <= self.per_node:
            ways.insert(0, "marching")
        measured_ways = {step["how"] for step in labelled}
        how = next((way for way in ways if way in measured_ways), None)
        steps = [step for step in labelled if step["how"] == how] or labelled
        same = [s for s in steps if math.isclose(s["share"], share, rel_tol=1e-6)]
        exact = [_with_wait(step, ranks) for step in same if step["batch"] == batch]
        slowdown = self._slowdown(label, how, ranks)
        if exact:
            return exact[0] * slowdown
        nearest = min(steps, key=lambda s: abs(math.log(s["share"] / share)))
        near = [step for step in steps if step["share"] == nearest["share"]]
        fitted = near if len(near) > 1 else steps
        seconds = [_with_wait(step, ranks) for step in fitted]
        return fit_line([step["batch"] for step in fitted], seconds)(batch) * slowdown

    def _slowdown(self, label: str, how: str | None, ranks: int) -> float:
        """Return the factor by which steps are slower when a node's ranks share it."""
        steps = [s for s in self.steps if (s["label"], s["how"]) == (label, how)]
        counts = {step["ranks"] for step in steps} - {1}
        on_node = ranks if ranks in counts else min(ranks, self.per_node)
        if on_node == 1 or not counts:
            return 1.0
        nearest = min(counts, key=lambda count: abs(math.log(count / on_node)))
        single = {(s["share"], s["batch"]): s for s in steps if s["ranks"] == 1}
        several = [step for step in steps if step["ranks"] == nearest]
        keys = [(step["share"], step["batch"]) for step in several]
        factors = [
            step["seconds"] / single[key]["seconds"]
            for step, key in zip(several, keys)
            if key in single
        ]
        return max(1.0, float(np.median(factors))) if factors else 1.0

    def rows_and_bytes(self, label: str) -> tuple[float, int]:
        """Return how many rows the whole set has, and the bytes of its gradient."""
        steps = [step for step in self.steps if step["label"] == label]
        largest = max(steps, key=lambda step: step["share"])
        itemsize = np.dtype(largest["dtype"]).itemsize
        return largest["rows"] / largest["share"], largest["size"] * itemsize

    def exchange(self, ranks: int, nbytes: int, *, apart: bool) -> float | None:
        """Return the seconds of an exchange of a vector; None where it is unknown.

        `apart`: every rank needs only its slice of the sum.
        """
        if ranks == 1:
            return 0.0
        same = [
            e for e in self.exchanges if (e["bytes"], e["apart"]) == (nbytes, apart)
        ]
        exact = [e["seconds"] for e in same if e["ranks"] == ranks]
        if exact:
            return exact[0]
        nodes = -(-ranks // self.per_node)
        on_node = _exchange_on_node(min(ranks, self.per_node), same)
        if nodes == 1:
            return on_node
        if self.internode is None:
            return None
        latency = self.internode.intercept * math.ceil(math.log2(nodes))
        return (on_node or 0.0) + latency + (nodes - 1) * nbytes * self.internode.slope

    def epoch(self, label: str, options: TrainConfig, ranks: int) -> EpochCost | None:
        """Return the cost of an epoch of a run; None if it is unknown.

        `options` are those of the run on so many ranks.
        """
        if options.strategy not in MODELLED or options.workers != ranks:
            return None
        rows, nbytes = self.rows_and_bytes(label)
        share = options.rows_share / ranks
        batch = min(options.batch_size, max(1, math.ceil(rows * share)))
        steps = math.ceil(rows * share / batch)
        exchange = self.exchange(ranks, nbytes, apart=options.strategy == "sync")
        if exchange is None:
            return None
        exchanges = exchanges_per_epoch(options, steps) * exchange
        step = self.step(label, share, batch, ranks)
        return EpochCost(steps * step + exchanges, exchanges)

    def advice(
        self, label: str, options: TrainConfig, ranks: int
    ) -> tuple[int | None, int | None]:
        """Return (global batch, steps between averages) that keep exchanges at a tenth.

        The smallest with x ≤ MAX_EXCHANGE_SHARE T; None where rows do not suffice.
        """
        rows, nbytes = self.rows_and_bytes(label)
        share = options.rows_share / ranks
        gradient_exchange = self.exchange(ranks, nbytes, apart=True)
        model_exchange = self.exchange(ranks, nbytes, apart=False)
        if gradient_exchange is None or model_exchange is None:
            return None, None
        batch, wanted = 1, (1 / MAX_EXCHANGE_SHARE - 1) * gradient_exchange
        while batch < rows * share and self.step(label, share, batch, ranks) < wanted:
            batch *= 2
        enough = self.step(label, share, batch, ranks) >= wanted
        step = self.step(label, share, options.batch_size, ranks)
        period = max(1, math.ceil((1 / MAX_EXCHANGE_SHARE - 1) * model_exchange / step))
        return batch * ranks if enough else None, period


def _with_wait(step: dict[str, Any], ranks: int) -> float:
    """Return the seconds of a step with the wait for the slowest of so many ranks."""
    waits = {int(count): wait for count, wait in step["waits"].items()} or {1: 0.0}
    wait = np.interp(math.log2(ranks), np.log2([*waits]), [*waits.values()])
    return step["seconds"] + float(wait)


def _exchange_on_node(ranks: int, exchanges: list[dict[str, Any]]) -> float | None:
    """Return the seconds on one node, from those of the nearest number of ranks."""
    on_node = [exchange for exchange in exchanges if exchange["nodes"] == 1]
    if ranks == 1 or not on_node:
        return 0.0 if ranks == 1 else None
    nearest = min(on_node, key=lambda e: abs(math.log(e["ranks"] / ranks)))
    growth = math.log2(max(2, ranks)) / math.log2(nearest["ranks"])
    return nearest["seconds"] * max(1.0, growth)


def exchanges_per_epoch(options: TrainConfig, steps: int) -> float:
    """Return how often a strategy exchanges in an epoch of so many steps."""
    if options.strategy == "sync":
        return steps
    if options.strategy == "average" and options.sync_every:
        return steps / options.sync_every
    times = options.n_sync if options.strategy == "average" else 1
    return times / max(1, options.epochs)
