"""Where the time went: seconds by what they were spent on, and bytes sent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trace import Trace

TIME_KINDS = ("compute", "exchange", "wait", "read")


class Clock:
    """Seconds of training, of exchanges and of reading on one rank, and bytes sent.

    All of them are paused during evaluation and saving. `trace` records every span.
    """

    def __init__(self, *, trace: Trace | None = None) -> None:
        self.seconds = self.exchange = self.read = 0.0
        self.bytes_sent = 0
        self.read_wait = 0.0  # the part of `read` in which training waited for rows
        self.trace = trace
        self._since = perf_counter()

    def now(self) -> float:
        """Return the seconds of training so far."""
        return self.seconds + perf_counter() - self._since

    def start(self, *, seconds: float = 0.0) -> None:
        """Start the training clock at a number of seconds."""
        self.seconds, self._since = seconds, perf_counter()

    def resume(self, *, exchange: float, bytes_sent: int) -> None:
        """Set the seconds of exchanges and the bytes sent to those of a checkpoint."""
        self.exchange, self.bytes_sent = exchange, bytes_sent

    def count_load(self, seconds: float) -> None:
        """Count the seconds of reading the rows before training."""
        self.read += seconds

    def count_exchange(self, began: float, nbytes: int = 0) -> None:
        """Count an exchange that ends now.

        `began` is a time of `perf_counter`, `nbytes` what this rank sent.
        """
        ended = perf_counter()
        self.exchange += ended - began
        self.bytes_sent += nbytes
        if self.trace:
            self.trace.add("exchange", began, ended)

    def count_exchanges(self, seconds: float, nbytes: int) -> None:
        """Count exchanges whose seconds were measured by the compiled call itself."""
        self.exchange += seconds
        self.bytes_sent += nbytes

    def count_read_wait(self, began: float) -> None:
        """Count the time since `began`, in which training waited for rows."""
        ended = perf_counter()
        self.read += ended - began
        self.read_wait += ended - began
        if self.trace:
            self.trace.add("read", began, ended)

    @contextlib.contextmanager
    def paused(self, kind: str) -> Iterator[None]:
        """Do something that is not training; `kind` is its name in the trace."""
        seconds, exchange, bytes_sent = self.now(), self.exchange, self.bytes_sent
        began = perf_counter()
        trace, self.trace = self.trace, None  # exchanges inside belong to this span
        try:
            yield
        finally:
            self.seconds, self.exchange = seconds, exchange
            self.bytes_sent = bytes_sent
            self.trace, self._since = trace, perf_counter()
            if trace:
                trace.add(kind, began, self._since)

    def breakdown(self) -> list[float]:
        """Return the seconds of compute, of exchanges and of reading."""
        compute = self.now() - self.exchange - self.read_wait
        return [compute, self.exchange, self.read]


def min_mean_max(breakdowns: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return {kind: {min, mean, max}} from the breakdowns (ranks, 3) of all clocks.

    The rank that arrived last in the exchanges hardly waited in them. So the seconds
    that other ranks spent there beyond its own count as `wait`.
    """
    compute, exchange, read = zip(*breakdowns)
    least = min(exchange)
    wait = [seconds - least for seconds in exchange]
    seconds_by_kind = compute, [least] * len(exchange), wait, read
    return {
        kind: {"min": min(row), "mean": sum(row) / len(row), "max": max(row)}
        for kind, row in zip(TIME_KINDS, seconds_by_kind)
    }


def slowest_rank(breakdowns: Sequence[Sequence[float]]) -> tuple[int, str]:
    """Return the rank with most compute time, and a line on who waited for whom."""
    compute, exchange, _ = zip(*breakdowns)
    rank = max(range(len(breakdowns)), key=compute.__getitem__)
    waited = max(exchange) - min(exchange)
    mean = sum(compute) / len(compute)
    own = exchange[rank] - min(exchange)
    return rank, (
        f"slowest: rank {rank} with {compute[rank]:.2f} s of work (mean {mean:.2f} s); "
        f"it waited {own:.2f} s for others, others {waited:.2f} s"
    )
