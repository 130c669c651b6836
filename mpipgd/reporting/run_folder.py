"""What a run leaves in its folder: metrics, summary, environment, pictures."""

import json
import math
import os
import pathlib
import platform
import sys
import time

from ..atomic_file import atomic_replace, translate_os_errors
from ..errors import CheckpointError

HEARTBEAT_SECONDS = 5.0  # seconds


def to_json(value):
    """Return a value as JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def line(record):
    """Return a record as one JSON object; `not_finite` names the numbers it lost."""
    kept = to_json(record)
    lost = [key for key, value in record.items() if kept[key] is None is not value]
    return json.dumps(kept | ({"not_finite": lost} if lost else {}))


class RunFolder:
    """metrics.jsonl and the other files of a run folder, on rank 0 alone."""

    def __init__(self, folder, *, length=0):
        self.folder = pathlib.Path(folder)
        self._left = time.monotonic()  # when a sign of life was
        with translate_os_errors(self.folder, CheckpointError):
            self._file = open(self.folder / "metrics.jsonl", "ab")
        if self._file.tell() < length:
            raise CheckpointError(
                f"{self._file.name} holds {self._file.tell()} bytes, but the "
                f"checkpoint was made when it held {length}"
            )
        self._file.truncate(length)
        self._file.seek(length)

    def length(self):
        """Return the bytes of metrics so far, all of them on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def metric(self, record):
        """Append one line of metrics, at once in the file."""
        with translate_os_errors(self._file.name, CheckpointError):
            self._file.write(line(record).encode() + b"\n")
            self._file.flush()

    def progress(self, position, step, steps):
        """Leave where the run is, now and then, for who looks into its folder."""
        now = time.monotonic()
        if now - self._left >= HEARTBEAT_SECONDS:
            self._left = now
            self.json("progress.json", position("progress", step) | {"steps": steps})

    def text(self, name, content):
        """Write a small text file into the folder."""
        with atomic_replace(self.folder / name, CheckpointError) as temporary:
            temporary.write_text(content)

    def json(self, name, record):
        """Write a record as an indented JSON file."""
        self.text(name, json.dumps(to_json(record), indent=2) + "\n")

    def close(self):
        """Close the metrics."""
        self._file.close()


class NullRunFolder:
    """The journal of the other ranks: it writes nothing."""

    folder = None

    def __init__(self, *args, **options):
        """Open nothing."""

    def metric(self, record):
        """Write nothing."""

    def length(self):
        """Return nothing."""

    text = json = close = progress = lambda self, *args: None


def environment(library, hosts):
    """Return what a run ran on: versions, MPI library, hosts, threads."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    packages = ("mpipgd", "mpi4py", "numpy", "h5py", "numba", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "platform": platform.platform(),
        "mpi": library,
        "hosts": {host: hosts.count(host) for host in dict.fromkeys(hosts)},
        "cores": os.cpu_count(),
        "threads": [
            {key: pool[key] for key in ("user_api", "internal_api", "num_threads")}
            for pool in threadpool_info()
        ],
        "command": sys.argv,
    }
