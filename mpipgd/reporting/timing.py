"""Where the time went: seconds by what they were spent on, and bytes sent."""

import contextlib
from time import perf_counter

TIME_KINDS = ("compute", "exchange", "wait", "read")


class Clock:
    """Seconds of training, of them in exchanges; seconds of reading; bytes sent.

    The training clock is paused in evaluation and saving, and so is the rest.
    """

    def __init__(self, trace=None):
        self.seconds = self.exchange = self.read = 0.0
        self.bytes_sent = 0
        self.read_wait = 0.0  # of reading: what the descent waited for rows
        self.trace = trace  # where every span is kept, see `trace.Trace`
        self._since = perf_counter()

    def now(self):
        """Return the seconds of training so far."""
        return self.seconds + perf_counter() - self._since

    def start(self, *, seconds=0.0):
        """Start the training clock at so many seconds."""
        self.seconds, self._since = seconds, perf_counter()

    def count_exchange(self, began, nbytes=0):
        """Count an exchange that began then and has just ended, and its bytes."""
        ended = perf_counter()
        self.exchange += ended - began
        self.bytes_sent += nbytes
        if self.trace:
            self.trace.add("exchange", began, ended)

    def count_exchanges(self, seconds, nbytes):
        """Count exchanges whose seconds were measured elsewhere."""
        self.exchange += seconds
        self.bytes_sent += nbytes

    def resume(self, *, exchange, bytes_sent):
        """Go on from the exchanges that a checkpoint remembers."""
        self.exchange, self.bytes_sent = exchange, bytes_sent

    def count_load(self, seconds):
        """Count seconds of reading before the training."""
        self.read += seconds

    def count_read_wait(self, began):
        """Count the time since then, in which the rows of a pile had to come."""
        ended = perf_counter()
        self.read += ended - began
        self.read_wait += ended - began
        if self.trace:
            self.trace.add("read", began, ended)

    @contextlib.contextmanager
    def paused(self, what):
        """Do something that is not training."""
        kept, began = (self.now(), self.exchange, self.bytes_sent), perf_counter()
        trace, self.trace = self.trace, None  # exchanges in between are part of it
        try:
            yield
        finally:
            self.seconds, self.exchange, self.bytes_sent = kept
            self.trace, self._since = trace, perf_counter()
            if trace:
                trace.add(what, began, self._since)

    def breakdown(self):
        """Return the seconds outside and inside exchanges, and of reading."""
        compute = self.now() - self.exchange - self.read_wait
        return [compute, self.exchange, self.read]


def min_mean_max(parts):
    """Return {part: {min, mean, max}} from the parts (ranks, 3) of all ranks' clocks.

    The rank that came last into the exchanges hardly waited in them, so what others
    spent there beyond its seconds is counted as `wait`.
    """
    compute, exchange, read = zip(*parts)
    least = min(exchange)
    rows = compute, [least] * len(exchange), [e - least for e in exchange], read
    return {
        name: {"min": min(row), "mean": sum(row) / len(row), "max": max(row)}
        for name, row in zip(TIME_KINDS, rows)
    }


def slowest_rank(parts):
    """Return the rank that computed most, and a line on it and who waited for it."""
    compute, exchange, _ = zip(*parts)
    rank = max(range(len(parts)), key=compute.__getitem__)
    waited = max(exchange) - min(exchange)
    mean = sum(compute) / len(compute)
    own = exchange[rank] - min(exchange)
    return rank, (
        f"slowest: rank {rank} with {compute[rank]:.2f} s of work (mean {mean:.2f} s); "
        f"it waited {own:.2f} s for others, others {waited:.2f} s"
    )
