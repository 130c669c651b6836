"""Run folders: their creation, what a run writes into them, and reading metrics."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..atomic_file import atomic_write_text, translate_os_errors
from ..errors import CheckpointError, UsageError
from .base import Record, RunFolderProtocol

DATA_FILE = "data.h5"  # in a run folder: the bundled set that the run took
# of the names of data, which names of folders go without
ENDINGS = r"(\.(h5|csv|tsv|txt|parquet|pq|arrow|feather|npz|svm))?(\.(gz|bz2))?$"
HEARTBEAT_SECONDS = 5.0  # least seconds between two writes of progress.json


def create_folder(
    given: str | os.PathLike[str] | None,
    data: str | os.PathLike[str],
    kind: str,
    *,
    inside: str,
) -> Path:
    """Create the folder `given`, or runs/TIME-DATA-KIND, with a folder `inside` it.

    Raises CheckpointError where it cannot be created.
    """
    stem = re.sub(ENDINGS, "", Path(data).name) or "data"
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{stem}-{kind}"
    folder, attempt = Path(given or f"runs/{name}"), 1
    while given is None and folder.exists():
        attempt += 1
        folder = folder.with_name(f"{name}-{attempt}")
    try:
        (folder / inside).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return folder


def create_run_folder(
    given: str | os.PathLike[str] | None, data: str | os.PathLike[str], strategy: str
) -> Path:
    """Create a run folder; UsageError where `given` already holds a run."""
    if given and Path(given, "metrics.jsonl").exists():
        raise UsageError(f"--run {given} holds a run: --resume it, or name another")
    return create_folder(given, data, strategy, inside="checkpoints")


class NewFolder:
    """A folder that is removed again where nothing was begun in it.

    As a context manager it removes, after an error, what was not there before `create`
    was called; folders that hold anything else stay.

    create_folder: creates the folder; given, inside: as `create_folder` takes them;
    begun: pattern of the files in the folder that tell that it is to stay.
    """

    def __init__(
        self,
        create_folder: Callable[[], Path],
        *,
        given: str | os.PathLike[str] | None,
        inside: str,
        begun: str,
    ) -> None:
        self._create_folder, self._inside, self._begun = create_folder, inside, begun
        self._given = None if given is None else Path(given)
        self._folder = self._given
        self._new_folders: set[Path] = set()  # with those above and inside it
        self._new_files: list[Path] = []  # that may be written before it has begun

    def create(self) -> Path:
        """Create and return the folder."""
        below = self._given / self._inside if self._given else Path("runs")
        missing = {path for path in (below, *below.parents) if not path.exists()}
        if self._given and not (self._given / DATA_FILE).exists():
            self._new_files = [self._given / DATA_FILE]
        self._new_folders = missing
        self._folder = folder = self._create_folder()
        if self._given is None:  # a name that nobody had before
            self._new_folders = missing | {folder, folder / self._inside}
            self._new_files = [folder / DATA_FILE]
        return folder

    def __enter__(self) -> NewFolder:
        return self

    def __exit__(self, error_type: object, *error: object) -> None:
        if error_type and self._folder and not any(self._folder.glob(self._begun)):
            self._remove()

    def _remove(self) -> None:
        deepest_first = sorted(self._new_folders, key=lambda path: -len(path.parts))
        with contextlib.suppress(OSError):
            for path in self._new_files:
                path.unlink(missing_ok=True)
            for path in deepest_first:
                if path.exists():
                    path.rmdir()


def file_name(label: str, separator: str = "-") -> str:
    """Return a label as part of a file name: only letters, digits and separators."""
    return "".join(char if char.isalnum() else separator for char in label)


def to_json(value: Any) -> Any:
    """Return a value that JSON can hold; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def line(record: Mapping[str, Any]) -> str:
    """Return a record as a JSON object; `not_finite` names its non-finite numbers."""
    converted = {key: to_json(value) for key, value in record.items()}
    not_finite = [
        key for key, value in record.items() if converted[key] is None is not value
    ]
    return json.dumps(converted | ({"not_finite": not_finite} if not_finite else {}))


class RunFolder(RunFolderProtocol):
    """metrics.jsonl and the other files of a run folder, on rank 0.

    `length`: the bytes of metrics.jsonl to keep, those that a checkpoint remembers.
    Raises CheckpointError where the file is shorter, or cannot be opened.
    """

    def __init__(self, folder: str | os.PathLike[str], *, length: int = 0) -> None:
        self.folder: Path = Path(folder)
        self._last_heartbeat = time.monotonic()
        with translate_os_errors(self.folder, CheckpointError):
            self._file = open(self.folder / "metrics.jsonl", "ab")
        if self._file.tell() < length:
            raise CheckpointError(
                f"{self._file.name} holds {self._file.tell()} bytes, but the "
                f"checkpoint was made when it held {length}"
            )
        self._file.truncate(length)
        self._file.seek(length)

    def metric(self, record: Mapping[str, Any]) -> None:
        """Append one line of metrics, and flush it to the file."""
        with translate_os_errors(self._file.name, CheckpointError):
            self._file.write(line(record).encode() + b"\n")
            self._file.flush()

    def length(self) -> int:
        """Return the bytes of metrics so far, all of them on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def progress(
        self, position: Callable[[str, int], Record], step: int, steps: int
    ) -> None:
        """Write progress.json every few seconds, for `mpipgd status`."""
        now = time.monotonic()
        if now - self._last_heartbeat >= HEARTBEAT_SECONDS:
            self._last_heartbeat = now
            self.json("progress.json", position("progress", step) | {"steps": steps})

    def text(self, name: str, content: str) -> None:
        """Write a small text file into the folder."""
        atomic_write_text(self.folder / name, content, CheckpointError)

    def json(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record as an indented JSON file."""
        self.text(name, json.dumps(to_json(record), indent=2) + "\n")

    def close(self) -> None:
        """Close the metrics."""
        self._file.close()


class NullRunFolder(RunFolderProtocol):
    """The run folder of the other ranks: it writes nothing.

    It takes the arguments of `RunFolder`, so that either class can be called.
    """

    folder: Path | None = None

    def __init__(self, folder: str | os.PathLike[str], *, length: int = 0) -> None:
        pass

    def metric(self, record: Mapping[str, Any]) -> None:
        """Write nothing."""

    def length(self) -> int:
        """Return 0."""
        return 0

    def progress(
        self, position: Callable[[str, int], Record], step: int, steps: int
    ) -> None:
        """Write nothing."""

    def text(self, name: str, content: str) -> None:
        """Write nothing."""

    def json(self, name: str, record: Mapping[str, Any]) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


def read_epochs(folder: str | os.PathLike[str]) -> list[Record]:
    """Return the evaluations in a run's metrics.

    That of the first weights, epoch 0, is left out where there are others.
    Raises OSError without metrics, and ValueError, KeyError or TypeError where a line
    is no record.
    """
    records = map(json.loads, _complete_lines(Path(folder) / "metrics.jsonl"))
    epochs = [record for record in records if record["event"] == "epoch"]
    return [record for record in epochs if record["step"]] or epochs


def read_last_epoch(folder: str | os.PathLike[str]) -> Record | None:
    """Return the last evaluation in a run's metrics; None where there is none."""
    path = Path(folder) / "metrics.jsonl"
    lines = _complete_lines(path) if path.exists() else []
    records = map(json.loads, reversed(lines))
    return next((record for record in records if "loss" in record), None)


def _complete_lines(path: Path) -> list[str]:
    """Return the lines of a file without a last one that is still being written."""
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()


def environment(library: str, hosts: list[str]) -> dict[str, Any]:
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
        "process": {"host": platform.node(), "id": os.getpid()},  # rank 0's
        "cores": os.cpu_count(),
        "threads": [
            {key: pool[key] for key in ("user_api", "internal_api", "num_threads")}
            for pool in threadpool_info()
        ],
        "command": sys.argv,
    }
