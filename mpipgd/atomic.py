"""Files that are there whole or not at all."""

import contextlib
import os
from pathlib import Path

import h5py


@contextlib.contextmanager
def replacing(path, refusal):
    """Give a temporary path that takes the place of `path` in the end, or vanishes.

    It is synced to the disk first, and the folder after. What the system refuses to
    write, a full disk say, is raised as `refusal`, one of the errors of this package.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with refusing(path, refusal):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def refusing(path, refusal):
    """Turn the system's refusal to write `path` into a `refusal` that says why.

    HDF5 reports a failed write as an OSError, or as a RuntimeError when closing.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not isinstance(error, OSError) and "write" not in str(error):
            raise
        full = "No space left" in str(error) or "File too large" in str(error)
        reason = "the disk is full" if full else getattr(error, "strerror", "") or error
        raise refusal(f"cannot write {path}: {reason}") from error


def hdf5_image(fill):
    """Return the bytes of an HDF5 file that `fill(file)` makes, in memory.

    HDF5 can crash the program when the disk refuses what it writes; Python does not.
    """
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        fill(file)
        file.flush()
        return file.id.get_file_image()


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
