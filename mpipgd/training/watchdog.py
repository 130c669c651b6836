"""A watchdog: when no step was made for too long, say where, and end all ranks."""

import faulthandler
import sys
import threading
import time

from ..comm import mpi
from ..errors import HangError


class Watchdog:
    """Ends all ranks with exit code 6 unless `beat` is called every `limit` seconds.

    A context; a limit of zero watches nothing. It runs on a thread of its own, as the
    main one hangs in a call of the MPI library when another rank does not come.
    """

    def __init__(self, comm, limit):
        self.comm, self.limit = comm, limit
        self.step, self.seen = None, time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def heartbeat(self, step):
        """Tell that `step` was reached."""
        self.step, self.seen = step, time.monotonic()

    def __enter__(self):
        if self.limit:
            self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()

    def _watch(self):
        while not self._done.wait(min(1.0, self.limit / 4)):
            if time.monotonic() - self.seen > self.limit:
                faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
                where = "the first step" if self.step is None else f"step {self.step}"
                mpi.crash(
                    self.comm,
                    HangError(
                        f"hang: nothing for {self.limit:g} s after {where}; see above"
                    ),
                )
