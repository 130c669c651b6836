"""Files that are there whole or not at all, whatever the disk says."""

import contextlib
import errno
import io
import os
from pathlib import Path

import h5py

LAYOUT = ("v110", "v110")  # the first whose chunk index too has checksums
FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def atomic_replace(path, refusal):
    """Give a temporary path that takes the place of `path` in the end, or vanishes.

    It is synced to the disk first, and the folder after. What the system refuses to
    write, a full disk say, is raised as `refusal`, one of the errors of this package.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with translate_os_errors(path, refusal):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def translate_os_errors(path, refusal):
    """Turn the system's refusal to write `path` into a `refusal` that says why."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        reason = "the disk is full" if error.errno in FULL else reason
        raise refusal(f"cannot write {path}: {reason}") from error


@contextlib.contextmanager
def atomic_hdf5(path):
    """Give a new HDF5 file and its `Sink`; OSError, at the latest when it closes."""
    with Sink(path) as sink:
        with h5py.File(sink, "w", libver=LAYOUT) as file:
            yield file, sink
        sink.verify()


class Sink(io.FileIO):
    """A file to give to h5py that keeps the first failure instead of raising it.

    HDF5 does not survive a failed write: on a full disk it prints a traceback for every
    open dataset and may crash. So it is told that all is well, until `verify`.
    """

    def __init__(self, path):
        super().__init__(path, "w+")
        self.failure = None

    def write(self, data):
        """Write all of `data`, or remember why not."""
        data = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(data) and self.failure is None:
                done += super().write(data[done:])
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size=None):
        """Set the size of the file, or remember why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size

    def verify(self):
        """Raise the first failure, if any."""
        if self.failure is not None:
            raise self.failure


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
