"""The process before MPI and numpy are loaded: its rank, threads, polling and signals.

Launchers describe the ranks in environment variables, which is all that is known before
MPI starts.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

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

# Signals that asked this process to stop, oldest first. A signal handler has nothing
# but global state to write to: `configure_environment` installs the one that appends
# here, and nothing else changes the list.
stop_signals: list[int] = []


# Whether training looks at `stop_signals` after its steps: only then do SIGINT and
# SIGTERM wait for it.
_checked_between_steps = False

_INTERRUPT_AGAIN_SECONDS = 0.01
INTERRUPTED = 130  # exit code after SIGINT, as in a shell


@contextlib.contextmanager
def stops_between_steps() -> Iterator[None]:
    """Let SIGINT and SIGTERM, too, be requests to stop after a step, in a block."""
    global _checked_between_steps
    _checked_between_steps = True
    try:
        yield
    finally:
        _checked_between_steps = False


def stop_requested() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(stop_signals)


def _record_stop(number: int, frame: FrameType | None) -> None:
    stop_signals.append(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Record a request to stop, or interrupt what does not look at it.

    The second signal ends the process at once.
    """
    if number in stop_signals:
        os._exit(INTERRUPTED)
    stop_signals.append(number)
    if not _checked_between_steps:
        raise KeyboardInterrupt


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process at once, in a block that calls C code.

    Handlers in Python would wait for it: for ever, where another rank has ended.
    """
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if _handles(n)]
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _interrupt)


def _handles(number: int) -> bool:
    return signal.getsignal(number) is _interrupt


def interrupted() -> bool:
    """Return whether KeyboardInterrupt was raised, which nothing may have swallowed."""
    return not _checked_between_steps and bool(
        {signal.SIGINT, signal.SIGTERM} & set(stop_signals)
    )


def _keep_ignored_interrupts() -> None:
    """Raise KeyboardInterrupt again where Python has to ignore it, in a destructor.

    Python prints an exception that a `__del__` or a callback of C code raises, and
    goes on; such an interrupt is silent here, and comes again a little later.
    """
    if not isinstance(sys.unraisablehook, _UnraisableHook):
        sys.unraisablehook = _UnraisableHook(sys.unraisablehook)


class _UnraisableHook:
    """The hook of `_keep_ignored_interrupts`; passes on what is no interrupt."""

    def __init__(self, previous: "Callable[[UnraisableHookArgs], object]") -> None:
        self._previous = previous

    def __call__(self, unraisable: "UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.signal(signal.SIGALRM, _raise_again)
            signal.setitimer(signal.ITIMER_REAL, _INTERRUPT_AGAIN_SECONDS)
        else:
            self._previous(unraisable)


def _raise_again(number: int, frame: FrameType | None) -> None:
    if interrupted():  # otherwise training has begun, and ends after a step
        raise KeyboardInterrupt


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
    cores, an MPI that yields the core while it waits instead of spinning on it; and
    handlers of SIGUSR1, SIGINT and SIGTERM that record the request to stop. The latter
    two raise KeyboardInterrupt where no training would look at it.
    """
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    # Open MPI warns about missing hardware otherwise
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")
    if oversubscribed():
        for name, value in _YIELD.items():
            os.environ.setdefault(name, value)
        _set_timer_slack()
    signal.signal(signal.SIGUSR1, _record_stop)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    _keep_ignored_interrupts()


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
