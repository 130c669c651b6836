"""The one module that imports MPI: agreement on errors, exits, and memory windows."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike

from .. import interrupts
from ..array_types import Array
from ..errors import MpipgdError

with interrupts.ended_by_signals():  # it starts MPI, and waits for all ranks
    from mpi4py import MPI

Comm = MPI.Intracomm
Request = MPI.Request
IN_PLACE = MPI.IN_PLACE
BYTE = MPI.BYTE
COMM_NULL = MPI.COMM_NULL
UNDEFINED = MPI.UNDEFINED
FLUSH_SECONDS = 0.3  # a launcher needs this to print a rank's last message

T = TypeVar("T")


class Freeable(Protocol):
    """What ranks share until they free it together."""

    def free(self) -> None:
        """Free it; collective."""


F = TypeVar("F", bound=Freeable)


def world() -> Comm:
    """Return the communicator of all ranks, after a first reduction on it.

    mpi4py duplicates a communicator at its first reduction of Python objects, and holds
    the interpreter's lock meanwhile: later this would block the watchdog's thread.
    """
    MPI.COMM_WORLD.allreduce(0)
    return MPI.COMM_WORLD


def comm_self() -> Comm:
    """Return the communicator that holds this rank only."""
    return MPI.COMM_SELF


def library() -> str:
    """Return the name and version of the MPI library, in one line."""
    return MPI.Get_library_version().split("\0")[0].splitlines()[0].strip().rstrip(",")


def host() -> str:
    """Return the host name of this rank's machine."""
    return MPI.Get_processor_name()


@contextlib.contextmanager
def raise_collectively(comm: Comm, *, root: bool = False) -> Iterator[None]:
    """Run a block on all ranks; raise on all of them the first error of any of them.

    Collective. Only errors of this package (`MpipgdError`) are agreed on. The message
    names the rank where only some ranks failed, unless `root`: then the block did its
    work on rank 0 only. An error that is `agreed` already is raised as it is.
    """
    error = None
    try:
        yield
    except MpipgdError as raised:
        if raised.agreed:
            raise
        error = raised
    any_failed = np.array([error is not None], np.int64)
    wait_asleep(comm.Iallreduce(IN_PLACE, any_failed, op=MPI.MAX))
    if not any_failed[0]:
        return
    errors = comm.allgather(error and (type(error), str(error)))
    failed_ranks = [rank for rank, value in enumerate(errors) if value]
    kind, message = errors[failed_ranks[0]]
    on_all_ranks = len(failed_ranks) == comm.size or root
    where = "" if on_all_ranks else f" (rank {failed_ranks[0]})"
    raise kind(message + where, agreed=True) from error


@contextlib.contextmanager
def freed_collectively(resource: F) -> Iterator[F]:
    """Free a shared resource at the end of a block that all ranks reach; collective.

    After an error that not all ranks have agreed on nothing is freed: the other ranks
    would not take part, and the collective call would hang.
    """
    try:
        yield resource
    except MpipgdError as error:
        if error.agreed:
            resource.free()
        raise
    resource.free()


def wait_asleep(request: Request) -> None:
    """Wait for a request by sleeping, so that a slow rank can use the core."""
    seconds = 5e-5
    while not request.Test():
        time.sleep(seconds)
        seconds = min(2 * seconds, 1e-3)


def on_root(comm: Comm, function: Callable[..., T], *args: Any) -> T:
    """Call `function` on rank 0; return its result or raise its error on all ranks."""
    result = None
    with raise_collectively(comm, root=True):
        if comm.rank == 0:
            result = function(*args)
    return cast(T, comm.bcast(result))


def root_else(comm: Comm, at_root: Any, elsewhere: Any) -> Any:
    """Return `at_root` on rank 0 of `comm`, and `elsewhere` on the other ranks."""
    return at_root if comm.rank == 0 else elsewhere


def node_leader_first(node: Comm, action: Callable[[], object]) -> None:
    """Run `action` on the first rank of a node, then on its other ranks at once.

    For work that leaves its result in a cache on disk, such as compiling: the other
    ranks find it there. Collective over the node.
    """
    if node.rank == 0:
        action()
    wait_asleep(node.Ibarrier())  # compiling takes seconds, and the cores
    if node.rank:
        action()


def allreduce_max(comm: Comm, values: Sequence[float]) -> Array:
    """Return the elementwise maximum (float64) of a few numbers over all ranks."""
    result = np.array(values, dtype=np.float64)
    comm.Allreduce(IN_PLACE, result, op=MPI.MAX)
    return result


def crash(comm: Comm, error: BaseException) -> None:
    """Print an error that only this rank has met, and end all ranks at once."""
    sys.stdout.flush()
    if isinstance(error, MpipgdError):
        print(f"mpipgd: {error} (rank {comm.rank})", file=sys.stderr, flush=True)
    else:
        trace = "".join(traceback.format_exception(error))
        print(f"mpipgd: rank {comm.rank} failed:\n{trace}", file=sys.stderr, flush=True)
    time.sleep(FLUSH_SECONDS)
    code = getattr(error, "code", 1)
    comm.Abort(code)
    os._exit(code)  # MPICH may come back before its launcher ends this process


def broadcast_exit_code(comm: Comm, code: int) -> int:
    """Return rank 0's exit code on all ranks."""
    value = np.array([code], np.int64)
    wait_asleep(comm.Ibcast(value))
    return int(value[0])


def gather_rows(
    comm: Comm,
    local: Array,
    gathered: Array,
    counts: Sequence[int],
    *,
    blocking: bool = True,
) -> Request | None:
    """Gather the rows (counts[rank], size) of all ranks in `gathered` (Σ counts, size).

    MPI 3 counts items in 32 bits, so that an item is a whole row, of a datatype made
    for it. Returns the request unless `blocking`; both arrays must then stay alive and
    unchanged until it is done. Collective.
    """
    row = BYTE.Create_contiguous(gathered.itemsize).Create_contiguous(gathered.shape[1])
    row.Commit()
    send, receive = [local, len(local), row], [gathered, counts, row]
    request = None
    if blocking:
        comm.Allgatherv(send, receive)
    else:
        request = comm.Iallgatherv(send, receive)
    row.Free()
    return request


def split(comm: Comm, color: int, key: int) -> Comm:
    """Return the communicator of the ranks that give the same color, ordered by key.

    COMM_NULL for the color UNDEFINED. Collective.
    """
    return cast(Comm, comm.Split(color, key))


def split_by_node(comm: Comm) -> Comm:
    """Return the ranks that share memory with this one, in order; collective."""
    return cast(Comm, comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank))


class SharedArray:
    """An array in an MPI-3 shared window: all ranks of a node see the same memory.

    Created and freed collectively over `comm`, the ranks of one node; rank 0 holds the
    memory. Writes become visible to the others after `barrier`.
    """

    def __init__(self, comm: Comm, shape: Sequence[int], dtype: DTypeLike) -> None:
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape)) * dtype.itemsize if comm.rank == 0 else 0
        self.comm = comm
        self._window = MPI.Win.Allocate_shared(nbytes, 1, comm=comm)
        self._window.Lock_all(MPI.MODE_NOCHECK)  # Sync needs an open access epoch
        buffer, _ = self._window.Shared_query(0)
        self.array: Array = np.ndarray(shape, dtype, cast(memoryview, buffer))

    def fill(self, value: float) -> None:
        """Set all numbers to `value`; collective."""
        if self.comm.rank == 0:
            self.array[...] = value
        self.barrier()

    def sync(self) -> None:
        """Order this rank's reads and writes of the memory with those of the others."""
        self._window.Sync()

    def barrier(self) -> None:
        """Wait for all ranks of the node, and see what they wrote; collective."""
        self._window.Sync()
        self.comm.Barrier()
        self._window.Sync()

    def free(self) -> None:
        """Give the memory back; collective."""
        del self.array
        self._window.Unlock_all()
        self._window.Free()


def shared_concat(comm: Comm, local: Array) -> SharedArray:
    """Return a `SharedArray` with all ranks' arrays (n, …) concatenated; collective."""
    counts = comm.allgather(len(local))
    shared = SharedArray(comm, [sum(counts), *local.shape[1:]], local.dtype)
    first = sum(counts[: comm.rank])
    shared.array[first : first + len(local)] = local
    shared.barrier()
    return shared


class RmaArray:
    """An array (count,) of this rank that all ranks read and add to (one-sided MPI).

    Each method returns when its operation is complete at the target. Numbers are
    changed one at a time, each atomically. Created and freed collectively.
    """

    def __init__(self, comm: Comm, count: int, dtype: DTypeLike) -> None:
        dtype = np.dtype(dtype)
        self.comm = comm
        self._window = MPI.Win.Allocate(
            count * dtype.itemsize, dtype.itemsize, comm=comm
        )
        self._window.Lock_all(MPI.MODE_NOCHECK)
        memory = cast(memoryview, self._window.tomemory())
        self.local: Array = np.frombuffer(memory, dtype)

    def barrier(self) -> None:
        """Let all ranks see what each of them wrote into its `local`; collective."""
        self._window.Sync()
        self.comm.Barrier()
        self._window.Sync()

    def fetch_add(self, rank: int, values: Array, previous: Array) -> None:
        """Add `values` to the array of a rank; write what it held to `previous`."""
        self._window.Get_accumulate(values, previous, rank, op=MPI.SUM)
        self._window.Flush(rank)

    def read(self, rank: int, out: Array) -> None:
        """Copy the array of a rank to `out`."""
        self._window.Get_accumulate(np.empty_like(out), out, rank, op=MPI.NO_OP)
        self._window.Flush(rank)

    def write(self, rank: int, offset: int, values: Array) -> None:
        """Replace the numbers from `offset` on in the array of a rank."""
        self._window.Accumulate(values, rank, offset, op=MPI.REPLACE)
        self._window.Flush(rank)

    def free(self) -> None:
        """Give the memory back; collective."""
        del self.local
        self._window.Unlock_all()
        self._window.Free()
