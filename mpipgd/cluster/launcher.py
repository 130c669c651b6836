"""The command that starts ranks: mpirun on this machine, srun in a job of SLURM.

The environment variable MPIPGD_LAUNCH replaces it, as "srun --mpi=pmix" or
"mpirun --map-by core".
"""

import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from .. import interrupts
from ..comm import environment
from ..errors import UsageError

# Seconds that srun gives the other ranks to end after one of them has died.
SRUN_WAIT_SECONDS = 30
ALLOW_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ALLOW_OVERSUBSCRIPTION = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
FORWARDED_SIGNALS = signal.SIGUSR1, signal.SIGTERM, signal.SIGINT


def find_mpirun() -> str | None:
    """Return the path of this environment's mpirun, or of the system's, or None."""
    own = Path(sys.executable).parent / "mpirun"
    return str(own) if own.exists() else shutil.which("mpirun")


def mpirun() -> str:
    """Return the path of mpirun; UsageError where there is none."""
    path = find_mpirun()
    if not path:
        raise UsageError(
            "no mpirun in this environment or on the PATH: pip install mpich, load a "
            "module, or set MPIPGD_LAUNCH"
        )
    return path


@functools.cache
def mpi_vendor(program: str) -> str:
    """Return whose mpirun a program is: "openmpi", or "mpich" for it and its kin."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"{program}: {error}") from error
    return "openmpi" if "Open MPI" in result.stdout + result.stderr else "mpich"


def in_slurm_job() -> bool:
    """Return whether this process is the script, or a shell, of a SLURM job."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_JOB_NODELIST" in os.environ


def slots() -> int:
    """Return the number of ranks that this job, or this machine, has a core for."""
    if in_slurm_job():
        return int(os.environ["SLURM_NTASKS"])
    return environment.cores()


def launch_command(ranks: int | None = None) -> list[str]:
    """Return the words before a program that start it on so many ranks.

    By default on as many as the job has tasks, or this machine cores.
    """
    words = shlex.split(os.environ.get("MPIPGD_LAUNCH", ""))
    if not words and in_slurm_job() and mpi_vendor(mpirun()) == "mpich":
        # --wait: without it the other ranks hang when one was killed
        words = ["srun", "--mpi=pmi2", f"--wait={SRUN_WAIT_SECONDS}"]
        if "SLURM_CPUS_PER_TASK" in os.environ:  # since SLURM 22.05 srun ignores it
            words.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    words = words or [mpirun()]
    if ranks is None and not in_slurm_job():
        ranks = environment.cores()
    return words + (["-n", str(ranks)] if ranks else [])


def mpipgd_command(*words: object) -> list[str]:
    """Return the words that run a command of mpipgd with this interpreter."""
    return [sys.executable, "-m", "mpipgd", *map(str, words)]


def launch_environment(ranks: int | None = None) -> dict[str, str]:
    """Return the environment variables for `launch_command` on so many ranks.

    What the user has set takes precedence.
    """
    defaults = dict(ALLOW_ROOT) if os.geteuid() == 0 else {}
    local_ranks = environment.tasks_per_node() if in_slurm_job() else ranks or 1
    if local_ranks > environment.cores():
        defaults |= ALLOW_OVERSUBSCRIPTION
    return defaults | dict(os.environ)


class RankProcess:
    """The process of a launcher that was started, to which signals are forwarded.

    While it runs, SIGUSR1, SIGTERM and SIGINT to this process are forwarded to it.
    SIGUSR1 is held back until `ready()` is true: a rank that has not yet installed its
    handler would die of it. Of SIGINT `interrupt` is made, at once; a second SIGINT
    becomes SIGTERM.

    stopped: whether a signal was forwarded; interrupted: whether SIGINT came; ended:
    whether SIGINT or SIGTERM came, which end a program for good.
    """

    def __init__(
        self,
        command: Sequence[str],
        ready: Callable[[], bool] = lambda: True,
        *,
        env: Mapping[str, str],
        interrupt: signal.Signals = signal.SIGTERM,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self.stopped = self.interrupted = self.ended = False
        self._interrupt = interrupt
        self._ready = ready
        # with the signals that came before this process was started
        self._pending_signals = list(interrupts.stop_signals)
        self._previous_handlers = {
            number: signal.signal(number, self._queue_signal)
            for number in FORWARDED_SIGNALS
        }
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            # a process group of its own: Ctrl-C then reaches it once, from here
            start_new_session=True,
        )

    def _queue_signal(self, number: int, frame: FrameType | None) -> None:
        self.ended = self.ended or number in (signal.SIGINT, signal.SIGTERM)
        if number == signal.SIGINT:  # at which srun only prints the state of its tasks
            number = signal.SIGTERM if self.interrupted else self._interrupt
            self.interrupted = True
        self._pending_signals.append(number)

    def wait(self) -> int:
        """Return the exit code; 128 + number where a signal ended the process."""
        try:
            while self._process.poll() is None:
                self._forward_signals()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.1)
        finally:
            for number, handler in self._previous_handlers.items():
                signal.signal(number, handler)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def _forward_signals(self) -> None:
        for number in list(self._pending_signals):
            if number != signal.SIGUSR1 or self._ready():
                self._pending_signals.remove(number)
                self.stopped = True
                self._process.send_signal(number)


def skip_used_step_ids(count: int) -> None:
    """Use up the step numbers of a job's earlier starts, where srun starts the ranks.

    MPICH names its shared memory by job and step, and a rank that was killed leaves it
    behind; a step of the same number in the requeued job would open it.
    """
    if launch_command()[0] == "srun":
        for _ in range(count):
            subprocess.run(["srun", "--nodes=1", "--ntasks=1", "true"])
