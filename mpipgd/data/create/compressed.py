"""Open a source file, compressed or not."""

import bz2
import gzip
from pathlib import Path

from ...errors import DataError

OPENERS = {".gz": gzip.open, ".bz2": bz2.open}


def open_source(path, mode="rb", **text):
    """Open a file, or what is compressed in it, to read; DataError if absent."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file")
    return OPENERS.get(path.suffix, open)(path, mode, **text)
