"""Where the time went: seconds by what they were spent on, and bytes sent."""

import contextlib
from time import perf_counter

PARTS = ("compute", "exchange", "wait", "read")


class Clock:
    """Seconds of training, of them in exchanges; seconds of reading; bytes sent.

    The training clock is paused in evaluation and saving, and so is the rest.
    """

    def __init__(self):
        self.seconds = self.exchange = self.read = 0.0
        self.sent = 0
        self._since = perf_counter()

    def now(self):
        """Return the seconds of training so far."""
        return self.seconds + perf_counter() - self._since

    def start(self, *, seconds=0.0):
        """Start the training clock at so many seconds."""
        self.seconds, self._since = seconds, perf_counter()

    @contextlib.contextmanager
    def paused(self):
        """Do something that is not training."""
        kept = self.now(), self.exchange, self.sent
        try:
            yield
        finally:
            self.seconds, self.exchange, self.sent = kept
            self._since = perf_counter()

    def parts(self):
        """Return the seconds outside and inside exchanges, and of reading."""
        return [self.now() - self.exchange, self.exchange, self.read]


def spread(parts):
    """Return {part: {min, mean, max}} from the parts (ranks, 3) of all ranks' clocks.

    The rank that came last into the exchanges hardly waited in them, so what others
    spent there beyond its seconds is counted as `wait`.
    """
    compute, exchange, read = zip(*parts)
    least = min(exchange)
    rows = compute, [least] * len(exchange), [e - least for e in exchange], read
    return {
        name: {"min": min(row), "mean": sum(row) / len(row), "max": max(row)}
        for name, row in zip(PARTS, rows)
    }
