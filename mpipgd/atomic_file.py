"""Files that are written completely or not at all, whatever the disk answers."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py

from .errors import MpipgdError, UsageError
from .interrupts import uninterruptible

LIBVER = ("v110", "v110")  # the first whose chunk index, too, has checksums
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def verify_output(
    path: str | os.PathLike[str],
    inputs: Iterable[str | os.PathLike[str]],
    *,
    overwrite: bool,
) -> None:
    """Raise UsageError where an output is an input, or exists without `overwrite`.

    Files are compared by device and inode: other names and links are found out.
    """
    try:
        status = os.stat(path)
    except OSError:
        return
    for other in inputs:
        with contextlib.suppress(OSError):
            if os.path.samestat(status, os.stat(other)):
                raise UsageError(f"{path} is read from ({other}): name another output")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is no regular file: name another output")
    if not overwrite:
        raise UsageError(f"{path} exists already: --overwrite replaces it")


@contextlib.contextmanager
def atomic_replace(
    path: str | os.PathLike[str], error_type: type[MpipgdError]
) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, or is removed on failure.

    The file is synced to the disk before it is renamed, and the folder after. What the
    system cannot write, because the disk is full for example, is raised as
    `error_type`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with translate_os_errors(path, error_type):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write_text(
    path: str | os.PathLike[str], text: str, error_type: type[MpipgdError]
) -> None:
    """Write a text file completely, or raise `error_type` and leave it as it was."""
    with atomic_replace(path, error_type) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def translate_os_errors(
    path: str | os.PathLike[str], error_type: type[MpipgdError]
) -> Iterator[None]:
    """Raise an OSError of the block as `error_type`, with the reason it gives."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        reason = "the disk is full" if error.errno in DISK_FULL else reason
        raise error_type(f"cannot write {path}: {reason}") from error


@contextlib.contextmanager
def atomic_hdf5(
    path: str | os.PathLike[str],
) -> Iterator[tuple[h5py.File, DeferredErrorFile]]:
    """Yield a new HDF5 file and the file that it is written to.

    Raises OSError when the block ends, if any write has failed. Inside the block,
    `verify` of the second raises it earlier.
    """
    with DeferredErrorFile(path) as target:
        with h5py.File(target, "w", libver=LIBVER) as file:
            yield file, target
        target.verify()


class DeferredErrorFile(io.FileIO):
    """A file for h5py that stores the first write error; `verify` raises it.

    HDF5 does not survive a failed write: on a full disk it prints a traceback for
    every open dataset and may crash. So every write is reported as successful.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    @uninterruptible
    def write(self, data: Any) -> int:
        """Write all of `data`, or store the error."""
        data = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(data) and self.failure is None:
                written += super().write(data[written:])
        except OSError as error:
            self.failure = error
        return len(data)

    @uninterruptible
    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, or store the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def verify(self) -> None:
        """Raise the first error, if any."""
        if self.failure is not None:
            raise self.failure


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
