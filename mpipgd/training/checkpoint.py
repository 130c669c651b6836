"""A run's whole state as one HDF5 file, written so that it is there or it is not."""

import hashlib
import pathlib

import h5py
import numpy as np

from ..atomic_file import atomic_hdf5, atomic_replace
from ..errors import CheckpointError

FORMAT = "mpipgd-checkpoint"
KEPT = 2  # newest ones, beside the best


def digest(arrays, attributes):
    """Return the sha256 of named arrays and attributes, in the order of their names."""
    result = hashlib.sha256()
    for name, value in sorted({**arrays, **attributes}.items()):
        array = np.ascontiguousarray(value) if name in arrays else None
        text = repr((array.dtype.str, array.shape)) if name in arrays else repr(value)
        result.update(f"{name} {text}\n".encode())
        if array is not None:
            result.update(array.tobytes())
    return result.hexdigest()


def write(path, arrays, attributes):
    """Write named arrays and attributes (int, float, str); verified, or not there."""
    attributes = {key: _plain(value) for key, value in attributes.items()}
    seal = digest(arrays, attributes)
    with atomic_replace(path, CheckpointError) as temporary:
        with atomic_hdf5(temporary) as (file, _):
            file.attrs.update(attributes | {"format": FORMAT, "sha256": seal})
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
        if _read(temporary) is None:
            raise OSError("what was read back is not what was written")


def _read(path):
    """Return (arrays, attributes) of a checkpoint that verifies, else None."""
    arrays = {}

    def collect(name, node):
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(path, "r") as file:
            attributes = {key: _plain(value) for key, value in file.attrs.items()}
            file.visititems(collect)
    except (OSError, RuntimeError, KeyError):
        return None
    seal, known = attributes.pop("sha256", None), attributes.pop("format", None)
    if known != FORMAT or seal != digest(arrays, attributes):
        return None
    return arrays, attributes


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def name(step):
    """Return the file name of the checkpoint after `step` updates."""
    return f"step-{step:012d}.h5"


def saved(folder):
    """Return the checkpoints of a run folder, the newest first."""
    return sorted(pathlib.Path(folder, "checkpoints").glob("step-*.h5"), reverse=True)


def newest(folder):
    """Return path, arrays and attributes of the newest checkpoint that verifies."""
    if not pathlib.Path(folder).is_dir():
        raise CheckpointError(f"--resume {folder}: no such run folder")
    found = saved(folder)
    for path in found:
        state = _read(path)
        if state is not None:
            return path, *state
    raise CheckpointError(
        f"--resume {folder}: found {len(found)} checkpoints, expected one that verifies"
    )


def tidy(folder, best):
    """Remove all checkpoints but the newest ones and the one after `best` updates."""
    for path in saved(folder)[KEPT:]:
        if path.name != name(best):
            path.unlink(missing_ok=True)


def named(store, state):
    """Return name -> array: those with a row a hosted worker, those alike; collective.

    `state` is the transform's, path -> array.
    """
    state = {f"state/{key}": array for key, array in state.items()}
    own = {k: a for k, a in state.items() if store.per_worker and a.ndim > 0}
    alike = {key: state[key] for key in state.keys() - own.keys()}
    return own | store.worker_arrays(), alike | store.replicated_arrays()


def collect(grid, store, state):
    """Return on rank 0 the arrays of a run, with a row for each worker; collective."""
    own, alike = named(store, state)
    for key in sorted(own):
        parts = grid.comm.gather(np.ascontiguousarray(own[key]))
        own[key] = parts and np.concatenate(parts)
    return own | alike


def restore(path, grid, store, state):
    """Fill a run's arrays in place from a checkpoint that verified; collective."""
    own, alike = named(store, state)
    with h5py.File(path, "r") as file:
        for key, array in (own | alike).items():
            shape = (grid.workers, *array.shape[1:]) if key in own else array.shape
            found = file[key].shape if key in file else None
            if found != shape:
                raise CheckpointError(
                    f"{path}: {key} has shape {found}, expected {shape}"
                )
            array[...] = file[key][slice(grid.first, grid.last) if key in own else ()]
