"""The one place that knows MPI: agreement, ends, and windows."""

import contextlib
import os
import sys
import time
import traceback

import numpy as np
from mpi4py import MPI

from ..errors import MpipgdError

Comm = MPI.Comm
IN_PLACE = MPI.IN_PLACE
BYTE = MPI.BYTE
COMM_NULL = MPI.COMM_NULL
UNDEFINED = MPI.UNDEFINED
SHARED_MEMORY = MPI.COMM_TYPE_SHARED
FLUSH_SECONDS = (
    0.3  # seconds in which a launcher prints what it was told before all end
)


def world():
    """Return all ranks. The first reduction makes a hidden duplicate of it.

    It would do so later holding the interpreter's lock, and stop watchdog threads.
    """
    MPI.COMM_WORLD.allreduce(0)
    return MPI.COMM_WORLD


def comm_self():
    """Return the communicator of this rank by itself."""
    return MPI.COMM_SELF


def library():
    """Return the name and version of the MPI library, in one line."""
    return MPI.Get_library_version().split("\0")[0].splitlines()[0].strip().rstrip(",")


def host():
    """Return the name of the machine that this rank runs on."""
    return MPI.Get_processor_name()


@contextlib.contextmanager
def raise_collectively(comm, *, root=False):
    """Raise on every rank of `comm` the first refusal that any of them met.

    Collective. The message names the rank where only some ranks refused, unless it was
    the `root`'s to do the work.
    """
    refusal = None
    try:
        yield
    except MpipgdError as error:
        if error.agreed:
            raise
        refusal = error
    anyone = np.array([refusal is not None], np.int64)
    wait_asleep(comm.Iallreduce(IN_PLACE, anyone, op=MPI.MAX))
    if not anyone[0]:
        return
    found = comm.allgather(refusal and (type(refusal), str(refusal)))
    refused = [rank for rank, each in enumerate(found) if each]
    kind, message = found[refused[0]]
    everywhere = len(refused) == comm.size or root
    where = "" if everywhere else f" (rank {refused[0]})"
    raise kind(message + where, agreed=True) from refusal


@contextlib.contextmanager
def freed_collectively(thing):
    """Free what the ranks share in the end, if all ranks get there; collective.

    A rank that fails alone frees nothing, as the others would never join it.
    """
    try:
        yield thing
    except MpipgdError as refusal:
        if refusal.agreed:
            thing.free()
        raise
    thing.free()


def wait_asleep(request):
    """Wait for a rank that may be long: asleep, which leaves it the core to work on."""
    pause = 5e-5
    while not request.Test():
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)


def on_root(comm, function, *args):
    """Return on all ranks what `function` returns, or raises, on rank 0 alone."""
    result = None
    with raise_collectively(comm, root=True):
        if comm.rank == 0:
            result = function(*args)
    return comm.bcast(result)


def root_else(comm, there, elsewhere):
    """Return `there` on rank 0 of `comm` and the silent `elsewhere` on the others."""
    return there if comm.rank == 0 else elsewhere


def node_leader_first(node, action):
    """Do something on the first rank of a node, and then on its others at once.

    What the first one leaves in a cache on the disk, the others find there.
    """
    if node.rank == 0:
        action()
    wait_asleep(node.Ibarrier())  # compiling takes its time, and the cores
    if node.rank:
        action()


def allreduce_max(comm, values):
    """Return the elementwise largest of a short list of numbers over all ranks."""
    result = np.array(values, dtype=np.float64)
    comm.Allreduce(IN_PLACE, result, op=MPI.MAX)
    return result


def crash(comm, error):
    """Print the failure of this rank alone and end all ranks at once."""
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


def broadcast_exit_code(comm, code):
    """Return rank 0's exit code on all ranks."""
    value = np.array([code], np.int64)
    wait_asleep(comm.Ibcast(value))
    return int(value[0])


def gather_rows(comm, mine, whole, counts, *, wait=True):
    """Gather rows (m, size) of all ranks, of which each has `counts`, into `whole`.

    A row is one item of a type of its own, so that counts stay small however large it
    is: MPI 3 counts in 32 bits. Without `wait` return the request.
    """
    row = BYTE.Create_contiguous(whole.itemsize).Create_contiguous(whole.shape[1])
    row.Commit()
    gather = comm.Allgatherv if wait else comm.Iallgatherv
    request = gather([mine, len(mine), row], [whole, counts, row])
    row.Free()
    return request


class SharedArray:
    """An array in memory that a node's ranks share; free it where it was made."""

    def __init__(self, comm, shape, dtype):
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape)) * dtype.itemsize if comm.rank == 0 else 0
        self.comm = comm
        self._window = MPI.Win.Allocate_shared(nbytes, 1, comm=comm)
        self._window.Lock_all(MPI.MODE_NOCHECK)  # Sync is for inside an epoch
        buffer, _ = self._window.Shared_query(0)
        self.array = np.ndarray(shape, dtype, buffer)

    def fill(self, value):
        """Set the whole array; collective."""
        if self.comm.rank == 0:
            self.array[...] = value
        self.barrier()

    def sync(self):
        """Let others see what was written here, and see what they wrote."""
        self._window.Sync()

    def barrier(self):
        """Wait for all ranks of the node and see what they wrote."""
        self._window.Sync()
        self.comm.Barrier()
        self._window.Sync()

    def free(self):
        """Give the memory back; collective over the node."""
        self.array = None
        self._window.Unlock_all()
        self._window.Free()


def shared_concat(comm, mine):
    """Return a `Window` of all ranks' arrays (n,), one behind the other; collective."""
    counts = comm.allgather(len(mine))
    window = SharedArray(comm, sum(counts), mine.dtype)
    first = sum(counts[: comm.rank])
    window.array[first : first + len(mine)] = mine
    window.barrier()
    return window


class RmaArray:
    """An array of this rank that all ranks read and add to without its help; free it.

    Every call returns when the operation is done over there. Numbers change one by
    one, each of them atomically.
    """

    def __init__(self, comm, count, dtype):
        dtype = np.dtype(dtype)
        self.comm = comm
        self._window = MPI.Win.Allocate(
            count * dtype.itemsize, dtype.itemsize, comm=comm
        )
        self._window.Lock_all(MPI.MODE_NOCHECK)
        self.local = np.frombuffer(self._window.tomemory(), dtype)

    def barrier(self):
        """Let all ranks see what each of them wrote into its `local`; collective."""
        self._window.Sync()
        self.comm.Barrier()
        self._window.Sync()

    def add(self, rank, values, before):
        """Add values to the array of a rank; `before` gets what it held."""
        self._window.Get_accumulate(values, before, rank, op=MPI.SUM)
        self._window.Flush(rank)

    def read(self, rank, out):
        """Read the array of a rank."""
        self._window.Get_accumulate(np.empty_like(out), out, rank, op=MPI.NO_OP)
        self._window.Flush(rank)

    def write(self, rank, place, values):
        """Replace the numbers from a place on in the array of a rank."""
        self._window.Accumulate(values, rank, place, op=MPI.REPLACE)
        self._window.Flush(rank)

    def free(self):
        """Give the memory back; collective."""
        self.local = None
        self._window.Unlock_all()
        self._window.Free()
