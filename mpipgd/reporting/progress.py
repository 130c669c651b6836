"""Progress of long work: a bar in a terminal, a line every few seconds in a log."""

import os
import sys
import time
from pathlib import Path
from typing import TextIO

from ..comm import environment
from .tables import format_duration

_LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "srun")
_TERMINALS = ("/dev/pts/", "/dev/tty")


class Progress:
    """Shows `update(done)` of `total` on `stream`; a stream of None shows nothing.

    A terminal gets a bar with the time left, ten times a second at most; a log gets
    a line every five seconds, and so none at all for short work.
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str = "rows",
        stream: TextIO | None = sys.__stderr__,
    ) -> None:
        self.total, self.label, self.unit, self.stream = total, label, unit, stream
        self._started = self._last_shown = time.monotonic()
        self.tty = stream is not None and on_terminal(stream)

    def update(self, done: int) -> None:
        """Show that `done` of the total is done, unless it was shown just before."""
        now = time.monotonic()
        due = now - self._last_shown >= (0.1 if self.tty else 5.0)
        if self.stream is None or not (due or (self.tty and done >= self.total)):
            return
        self._last_shown = now
        self.stream.write(self.line(done, now - self._started))
        self.stream.flush()

    def line(self, done: int, seconds: float) -> str:
        """Return what is shown: a bar that overwrites itself, or a line of a log."""
        share = min(1.0, done / max(1, self.total))
        left = seconds * (1 - share) / max(share, 1e-9)
        text = f"{done:,} of {self.total:,} {self.unit}, {format_duration(left)} left"
        if not self.tty:
            return f"{self.label}: {share:4.0%}  {text}\n"
        bar = "█" * round(24 * share)
        end = "\n" if share == 1.0 else ""
        return f"\r{self.label} ▕{bar:<24}▏ {share:4.0%}  {text}\x1b[K{end}"


def on_terminal(stream: TextIO) -> bool:
    """Return whether what is printed on `stream` reaches a terminal.

    Open MPI gives every rank a terminal of its own, MPICH gives it a pipe. So what
    counts is where their launcher, an ancestor of this process, writes to.
    """
    process = os.getppid()
    while process > 1:
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
            name, rest = stat[stat.index("(") + 1 :].rsplit(")", 1)
            if name in _LAUNCHERS:
                return os.readlink(f"/proc/{process}/fd/1").startswith(_TERMINALS)
        except OSError:
            return False
        process = int(rest.split()[1])
    return stream.isatty() and not environment.under_mpirun()
