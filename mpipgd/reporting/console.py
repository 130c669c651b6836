"""What rank 0 shows while it trains: a table, and a progress bar in a terminal."""

import sys
import time
from typing import TextIO

from .base import ConsoleProtocol, Record
from .progress import Progress, on_terminal
from .tables import format_number

_HEAD = f"{'epoch':>6} {'loss':>11}"
_VALIDATION_HEAD = f" {'valid. loss':>11} {'valid.':>8}"
_TAIL = f" {'test loss':>11} {{:>8}} {'lr':>9} {'seconds':>8} {'rows/s':>11}"
_ERASE_LINE = "\r\x1b[K"


class Console(ConsoleProtocol):
    """The table of a run: one row every few seconds, and the last evaluation.

    `steps` is the length of the progress bar, `score` the heading of the score's
    column, `every` the least seconds between two rows in a log; a terminal gets a row
    every 0.2 s at most.
    """

    def __init__(
        self, *, steps: int, score: str, stream: TextIO | None = None, every: float = 2
    ) -> None:
        self.stream = stream or sys.stdout
        self.tty = on_terminal(self.stream)
        self.every = 0.2 if self.tty else every
        self.bar = Progress(steps, "train", "steps", self.stream if self.tty else None)
        self.score = score
        self.rows = 0
        self._last_shown = -float("inf")
        self._pending: Record | None = None  # the last evaluation, if not shown

    def say(self, text: str = "") -> None:
        """Print a line, above the bar if there is one."""
        print((_ERASE_LINE if self.tty else "") + text, file=self.stream, flush=True)

    def progress(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(step)

    def epoch(self, record: Record) -> None:
        """Add a row for an evaluation, unless one was added just before."""
        self._pending = record
        if time.monotonic() - self._last_shown >= self.every:
            self.row(record)

    def row(self, record: Record) -> None:
        """Add a row."""
        if not self.rows:
            validation = _VALIDATION_HEAD if "validation_loss" in record else ""
            self.say(_HEAD + validation + _TAIL.format(self.score))
        self._last_shown, self._pending = time.monotonic(), None
        self.rows += 1
        self.say(
            f"{record['epoch']:>6} {record['loss']:>11.5g}{_validation(record)} "
            f"{format_number(record['test_loss'], '.5g'):>11} "
            f"{_score(record['score'])} "
            f"{record['lr']:>9.3g} {record['seconds']:>8.2f} "
            f"{record['samples'] / max(record['seconds'], 1e-9):>11,.0f}"
        )

    def close(self) -> None:
        """Show the last evaluation if it was left out, and remove the bar."""
        if self._pending:
            self.row(self._pending)
        if self.tty:
            print(_ERASE_LINE, end="", file=self.stream, flush=True)


def _score(score: float) -> str:
    """Return a score with four decimals; a large one, of a bad model, in short."""
    return f"{score:>8.4f}" if abs(score) < 100 else f"{score:>8.2g}"


def _validation(record: Record) -> str:
    """Return the columns of the validation rows, if there are any."""
    if "validation_loss" not in record:
        return ""
    return f" {record['validation_loss']:>11.5g} {_score(record['validation_score'])}"


class NullConsole(ConsoleProtocol):
    """The console of the other ranks, and of a quiet run: it shows nothing."""

    def say(self, text: str = "") -> None:
        """Show nothing."""

    def progress(self, step: int) -> None:
        """Show nothing."""

    def epoch(self, record: Record) -> None:
        """Show nothing."""

    def row(self, record: Record) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""
