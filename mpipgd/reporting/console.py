"""What rank 0 shows while it trains: a table, and a bar in a terminal."""

import sys
import time

from .progress import Progress, on_terminal

_HEAD = f"{'epoch':>6} {'loss':>11} {'test loss':>11} {{:>8}}"
_HEAD += f" {'lr':>9} {'seconds':>8} {'rows/s':>11}"


class Console:
    """The table of a run: a row now and then, and the last; a bar in a terminal."""

    def __init__(self, *, steps, score, stream=None, every=2.0):
        self.stream = stream or sys.stdout
        self.tty = on_terminal(self.stream)
        self.every = 0.2 if self.tty else every
        self.bar = Progress(steps, "train", "steps", self.stream if self.tty else None)
        self.score, self.shown, self.last = score, -float("inf"), None
        self.rows = 0

    def say(self, text=""):
        """Print a line, above the bar if there is one."""
        print(("\r\x1b[K" if self.tty else "") + text, file=self.stream, flush=True)

    def progress(self, step):
        """Move the bar."""
        self.bar.update(step)

    def epoch(self, record):
        """Add a row for an evaluation, unless one was added just now."""
        self.last = record
        if time.monotonic() - self.shown >= self.every:
            self.row(record)

    def row(self, record):
        """Add a row."""
        if not self.rows:
            self.say(_HEAD.format(self.score))
        self.shown, self.last = time.monotonic(), None
        self.rows += 1
        self.say(
            f"{record['epoch']:>6} {record['loss']:>11.5g} "
            f"{_or_dash(record['test_loss'], '11.5g')} {record['score']:>8.4f} "
            f"{record['lr']:>9.3g} {record['seconds']:>8.2f} "
            f"{record['samples'] / max(record['seconds'], 1e-9):>11,.0f}"
        )

    def close(self):
        """Show the last row if it was left out, and take the bar away."""
        if self.last:
            self.row(self.last)
        if self.tty:
            print("\r\x1b[K", end="", file=self.stream, flush=True)


def _or_dash(value, form):
    return format(
        "–" if value is None else value, f">{form[:2]}" if value is None else form
    )


class NullConsole:
    """The console of the other ranks, and of a quiet run: it shows nothing."""

    def say(self, text=""):
        """Show nothing."""

    progress = epoch = row = lambda self, *args: None

    def close(self):
        """Show nothing."""
