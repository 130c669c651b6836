"""What has to be settled before MPI and numpy are loaded: threads, polling, rank."""

import contextlib
import ctypes
import os
import re
import signal

from ..errors import UsageError

_RANK = ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
_SIZE = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LOCAL_SIZE = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
_LOCAL_SIZE += ("SLURM_STEP_TASKS_PER_NODE",)  # "4(x2),3"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_YIELD = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "true",
}

stop_signals = []  # the signals that asked for a stop, oldest first

_SET_TIMERSLACK = 29  # of prctl(2)


def _number(names, default):
    found = next((os.environ[name] for name in names if name in os.environ), default)
    return int(re.match(r"\d+", str(found))[0])


def rank():
    """Return this process's number as its launcher tells it; 0 without one."""
    return _number(_RANK, 0)


def cores():
    """Return the cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def local_size():
    """Return how many ranks the launcher says that there are on this machine."""
    return _number(_LOCAL_SIZE, 1)


def tasks_per_node():
    """Return how many tasks on a node a job of SLURM has."""
    return _number(("SLURM_TASKS_PER_NODE",), 1)


def oversubscribed():
    """Say whether this machine's ranks outnumber its cores."""
    return local_size() > (os.cpu_count() or 1)


def configure_environment():
    """Set what only counts before the first import of numpy and MPI.

    One BLAS thread a rank, unless the user chose; and where ranks outnumber cores,
    an MPI that yields the core while it waits instead of spinning on it.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")  # it complains about missing hardware
    if oversubscribed():
        for name, value in _YIELD.items():
            os.environ.setdefault(name, value)
        _set_timer_slack()
    signal.signal(signal.SIGUSR1, lambda number, frame: stop_signals.append(number))


def _set_timer_slack():
    """Let naps end when they should: Linux adds 50 µs to each, unless asked not to."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_TIMERSLACK, 1000, 0, 0, 0)  # nanoseconds


def check_world_size(size):
    """Raise UsageError where this is one of many programs that were meant to be one.

    srun without a matching PMI plugin starts N separate programs of size 1, and so does
    the mpirun of another MPI.
    """
    if size == 1 and launcher_size() > 1:
        by = "mpirun" if under_mpirun() else "srun"
        raise UsageError(
            f"{by} started {launcher_size()} programs, but MPI sees 1: {by} and this MPI do "
            "not know each other; 'mpipgd doctor' says which launcher does"
        )


def under_mpirun():
    """Say whether a launcher of MPI, not srun alone, started this process."""
    return any(name in os.environ for name in _SIZE)


def launcher_size():
    """Return how many programs were started together, whatever MPI makes of them."""
    return _number((*_SIZE, "SLURM_STEP_NUM_TASKS"), 1)
