"""A watchdog: when no step was made for too long, print where, and end all ranks."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from typing import TYPE_CHECKING

from ..comm import mpi
from ..errors import HangError

if TYPE_CHECKING:
    from ..comm.mpi import Comm


class Watchdog:
    """Ends all ranks with exit code 6 unless `heartbeat` is called every `limit` s.

    A context manager; a limit of zero watches nothing. It runs in a thread of its own,
    as the main thread hangs inside the MPI library when another rank does not come.
    """

    def __init__(self, comm: Comm, limit: float) -> None:
        self.comm, self.limit = comm, limit
        self.step: int | None = None
        self.last_heartbeat = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def heartbeat(self, step: int) -> None:
        """Tell that `step` was reached."""
        self.step, self.last_heartbeat = step, time.monotonic()

    def __enter__(self) -> Watchdog:
        if self.limit:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self.limit / 4)):
            if time.monotonic() - self.last_heartbeat > self.limit:
                stderr = sys.__stderr__ or sys.stderr
                faulthandler.dump_traceback(stderr, all_threads=True)
                where = "the first step" if self.step is None else f"step {self.step}"
                message = f"hang: nothing for {self.limit:g} s after {where}; see above"
                mpi.crash(self.comm, HangError(message))
