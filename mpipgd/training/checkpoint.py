"""A run's whole state as one HDF5 file, written atomically and verified."""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace
from ..errors import CheckpointError

if TYPE_CHECKING:
    from ..array_types import Array
    from ..comm.topology import Grid
    from ..stores.base import Store

FORMAT = "mpipgd-checkpoint"
NEWEST = 2  # checkpoints that are kept beside the best one


def digest(arrays: dict[str, Array], attributes: dict[str, Any]) -> str:
    """Return the sha256 of named arrays and attributes, in the order of their names."""
    result = hashlib.sha256()
    for name, value in sorted({**arrays, **attributes}.items()):
        if name in arrays:
            array = np.ascontiguousarray(value)
            description = repr((array.dtype.str, array.shape))
            result.update(f"{name} {description}\n".encode())
            result.update(array.tobytes())
        else:
            result.update(f"{name} {value!r}\n".encode())
    return result.hexdigest()


def write(
    path: pathlib.Path, arrays: dict[str, Array], attributes: dict[str, Any]
) -> None:
    """Write named arrays and attributes (int, float, str) to a file, and verify it.

    The file is complete or not there. Raises CheckpointError.
    """
    attributes = {key: _to_python(value) for key, value in attributes.items()}
    sha256 = digest(arrays, attributes)
    with atomic_replace(path, CheckpointError) as temporary:
        with atomic_hdf5(temporary) as (file, _):
            file.attrs.update(attributes | {"format": FORMAT, "sha256": sha256})
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
        if _read(temporary) is None:
            raise OSError("what was read back is not what was written")


class Checkpoint(NamedTuple):
    """The content of a checkpoint's file."""

    arrays: dict[str, Array]
    attributes: dict[str, Any]


def _read(path: pathlib.Path) -> Checkpoint | None:
    """Return a checkpoint if its sha256 is right, else None."""
    arrays: dict[str, Array] = {}

    def collect_array(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(path, "r") as file:
            attributes = {key: _to_python(value) for key, value in file.attrs.items()}
            file.visititems(collect_array)
    except (OSError, RuntimeError, KeyError):
        return None
    sha256, stored_format = attributes.pop("sha256", None), attributes.pop("format", "")
    if stored_format != FORMAT or sha256 != digest(arrays, attributes):
        return None
    return Checkpoint(arrays, attributes)


def _to_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def file_name(step: int) -> str:
    """Return the file name of the checkpoint after `step` updates."""
    return f"step-{step:012d}.h5"


def saved(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Return the checkpoints of a run folder, the newest first."""
    return sorted(pathlib.Path(folder, "checkpoints").glob("step-*.h5"), reverse=True)


def newest(folder: str | os.PathLike[str]) -> tuple[pathlib.Path, Checkpoint]:
    """Return path and content of the newest checkpoint that verifies.

    Raises CheckpointError where there is none.
    """
    if not pathlib.Path(folder).is_dir():
        raise CheckpointError(f"--resume {folder}: no such run folder")
    paths = saved(folder)
    for path in paths:
        content = _read(path)
        if content is not None:
            return path, content
    raise CheckpointError(
        f"--resume {folder}: found {len(paths)} checkpoints, expected one that verifies"
    )


def remove_old(folder: str | os.PathLike[str], best: int) -> None:
    """Remove all checkpoints but the newest ones and the one after `best` updates."""
    for path in saved(folder)[NEWEST:]:
        if path.name != file_name(best):
            path.unlink(missing_ok=True)


def _worker_and_replicated(
    store: Store, state: dict[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return name -> array: those with a row a worker, those the same on all ranks.

    `state` is the transform's, path -> array. Collective.
    """
    state = {f"state/{key}": array for key, array in state.items()}
    worker = {k: a for k, a in state.items() if store.per_worker and a.ndim > 0}
    replicated = {key: state[key] for key in state.keys() - worker.keys()}
    return worker | store.worker_arrays(), replicated | store.replicated_arrays()


def collect(grid: Grid, store: Store, state: dict[str, Array]) -> dict[str, Array]:
    """Return on rank 0 the arrays of a run, with a row for each worker; collective."""
    worker, replicated = _worker_and_replicated(store, state)
    for key in sorted(worker):
        blocks = grid.comm.gather(np.ascontiguousarray(worker[key]))
        if blocks is not None:
            worker[key] = np.concatenate(blocks)
    return worker | replicated


def restore(
    path: pathlib.Path, grid: Grid, store: Store, state: dict[str, Array]
) -> None:
    """Fill a run's arrays in place from a checkpoint that verified; collective.

    A rank reads the rows of its own workers. Raises CheckpointError where an array is
    missing or has another shape.
    """
    worker, replicated = _worker_and_replicated(store, state)
    with h5py.File(path, "r") as file:
        for key, array in (worker | replicated).items():
            shape = (grid.workers, *array.shape[1:]) if key in worker else array.shape
            stored_shape = file[key].shape if key in file else None
            if stored_shape != shape:
                raise CheckpointError(
                    f"{path}: {key} has shape {stored_shape}, expected {shape}"
                )
            rows = slice(grid.first, grid.last) if key in worker else ()
            array[...] = file[key][rows]
