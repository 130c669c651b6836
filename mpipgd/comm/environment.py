"""The process before MPI and numpy are loaded: its rank, threads and polling.

Launchers describe the ranks in environment variables, which is all that is known before
MPI starts.
"""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterable

from .. import interrupts
from ..errors import UsageError

_RANK = ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
_SIZE = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LOCAL_SIZE = (
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "SLURM_STEP_TASKS_PER_NODE",  # such as "4(x2),3": the first number is taken
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_YIELD = {
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "true",
}
_PR_SET_TIMERSLACK = 29  # of prctl(2)
_TIMER_SLACK = 1000  # nanoseconds


def _first_number(names: Iterable[str], default: int) -> int:
    """Return the number that the first of these variables to be set begins with."""
    for name in names:
        if name in os.environ:
            digits = re.match(r"\d+", os.environ[name])
            if digits is None:
                raise TypeError(f"{name}={os.environ[name]!r} is not a number")
            return int(digits[0])
    return default


def rank() -> int:
    """Return this process's rank according to its launcher; 0 without one."""
    return _first_number(_RANK, 0)


def cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def available_memory() -> int:
    """Return the bytes of memory that programs may still take on this machine."""
    with open("/proc/meminfo") as file:
        for line in file:
            name, _, size = line.partition(":")
            if name == "MemAvailable":
                return int(size.split()[0]) << 10
    return 0


def local_size() -> int:
    """Return the number of ranks on this machine according to the launcher."""
    return _first_number(_LOCAL_SIZE, 1)


def tasks_per_node() -> int:
    """Return the number of tasks on a node of this SLURM job."""
    return _first_number(("SLURM_TASKS_PER_NODE",), 1)


def oversubscribed() -> bool:
    """Return whether this machine has more ranks than cores."""
    return local_size() > (os.cpu_count() or 1)


def configure_environment() -> None:
    """Set what only counts before the first import of numpy and MPI.

    One BLAS thread a rank, unless the user chose another number; where ranks outnumber
    cores, an MPI that yields the core while it waits instead of spinning on it; and the
    handlers of `interrupts`.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    # Open MPI warns about missing hardware otherwise
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")
    if oversubscribed():
        for name, value in _YIELD.items():
            os.environ.setdefault(name, value)
        _set_timer_slack()
    interrupts.install_handlers()


def _set_timer_slack() -> None:
    """Make short sleeps end on time: by default Linux adds up to 50 µs to each."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK, 0, 0, 0)


def check_world_size(size: int) -> None:
    """Raise UsageError where several programs of one rank were started as one job.

    srun without a matching PMI plugin starts N separate programs of size 1, and so does
    the mpirun of another MPI.
    """
    if size == 1 and launcher_size() > 1:
        launcher = "mpirun" if under_mpirun() else "srun"
        raise UsageError(
            f"{launcher} started {launcher_size()} programs, but MPI sees 1: "
            f"{launcher} and this MPI do not know each other; 'mpipgd doctor' says "
            "which launcher does"
        )


def under_mpirun() -> bool:
    """Return whether an MPI launcher, not srun alone, started this process."""
    return any(name in os.environ for name in _SIZE)


def launcher_size() -> int:
    """Return how many processes the launcher started, whether or not MPI joins them."""
    return _first_number((*_SIZE, "SLURM_STEP_NUM_TASKS"), 1)
