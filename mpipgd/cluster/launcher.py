"""The command that starts ranks: mpirun on this machine, srun in a job of SLURM.

`MPIPGD_LAUNCH`, as in "srun --mpi=pmix" or "mpirun --map-by core", takes its place.
"""

import contextlib
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ..comm.environment import cores, stop_signals, tasks_per_node
from ..errors import UsageError

GRACE = 30  # seconds that srun leaves the other ranks when one has died
ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
CROWDED = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
FORWARDED_SIGNALS = signal.SIGUSR1, signal.SIGTERM, signal.SIGINT


def find_mpirun():
    """Return the path of this environment's mpirun, or of the system's, or None."""
    own = Path(sys.executable).parent / "mpirun"
    return str(own) if own.exists() else shutil.which("mpirun")


def mpirun():
    """Return the path of the mpirun there is; UsageError without one."""
    found = find_mpirun()
    if not found:
        raise UsageError(
            "no mpirun in this environment or on the PATH: pip install mpich, load a "
            "module, or set MPIPGD_LAUNCH"
        )
    return found


@functools.cache
def mpi_vendor(program):
    """Return whose mpirun a program is: mpich (and its kin) or openmpi."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"{program}: {error}") from error
    return "openmpi" if "Open MPI" in done.stdout + done.stderr else "mpich"


def in_job():
    """Say whether this is the script, or the shell, of a job of SLURM."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_JOB_NODELIST" in os.environ


def slots():
    """Return how many ranks this job, or this machine, has a core for."""
    return int(os.environ["SLURM_NTASKS"]) if in_job() else cores()


def launch_command(ranks=None):
    """Return the words that start so many ranks, or as many as the job has tasks."""
    words = shlex.split(os.environ.get("MPIPGD_LAUNCH", ""))
    if not words and in_job() and mpi_vendor(mpirun()) == "mpich":
        # a rank that was killed must not leave the others hanging
        words = ["srun", "--mpi=pmi2", f"--wait={GRACE}"]
        if "SLURM_CPUS_PER_TASK" in os.environ:  # srun no longer takes it from there
            words.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    words = words or [mpirun()]
    if ranks is None and not in_job():
        ranks = cores()
    return words + (["-n", str(ranks)] if ranks else [])


def mpipgd_command(*words):
    """Return the words of a command of mpipgd with this interpreter."""
    return [sys.executable, "-m", "mpipgd", *map(str, words)]


def environment(ranks=None):
    """Return the environment in which they are started."""
    more = ROOT if os.geteuid() == 0 else {}
    if (tasks_per_node() if in_job() else ranks or 1) > cores():
        more = more | CROWDED
    return more | dict(os.environ)


class RankProcess:
    """Ranks that were started; signals that this process gets are passed on to them.

    SIGUSR1 is kept until `ready()`: before, a rank that starts up would die of it.
    `stopped`: were they told to end?
    """

    stopped = False

    def __init__(self, words, ready=lambda: True, **more):
        self.ready, self.kept = ready, list(stop_signals)  # a stop asked for already
        self.before = {
            each: signal.signal(each, self._pass) for each in FORWARDED_SIGNALS
        }
        # a process group of its own: Ctrl-C comes once, from here
        self.process = subprocess.Popen(words, start_new_session=True, **more)

    def _pass(self, number, frame):
        # of SIGINT srun only says how its tasks do
        self.kept.append(signal.SIGTERM if number == signal.SIGINT else number)

    def wait(self):
        """Return the exit code; 128 and its number more where a signal ended it."""
        try:
            while self.process.poll() is None:
                self._pass_on()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.1)
        finally:
            for number, handler in self.before.items():
                signal.signal(number, handler)
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    def _pass_on(self):
        for number in list(self.kept):
            if number != signal.SIGUSR1 or self.ready():
                self.kept.remove(number)
                self.stopped = True
                self.process.send_signal(number)


def skip_used_step_ids(count):
    """Use up the numbers of a job's earlier steps, where srun starts MPICH's ranks.

    It names its shared memory by job and step, and a killed rank leaves it behind.
    """
    if launch_command()[0] == "srun":
        for _ in range(count):
            subprocess.run(["srun", "--nodes=1", "--ntasks=1", "true"])
