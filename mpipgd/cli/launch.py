"""mpipgd launch."""

import argparse
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import interrupts
from ..errors import StopRequested, UsageError
from .base import Printer, StandaloneCommand, parse_integer
from .train import TrainCommand

if TYPE_CHECKING:
    from ..cluster.launcher import RankProcess


class LaunchCommand(StandaloneCommand):
    """Start a command's ranks: by mpirun here, by srun in a job of SLURM.

    As `mpipgd launch -n 8 -- train digits`; signals are passed on. In a job's script,
    with --requeue, a training that was stopped before the time limit goes back into the
    queue, and on from its checkpoint when the job starts again.
    """

    name = "launch"
    help = "start a command's ranks by mpirun here, by srun in a job of SLURM"
    takes_inner_command = True

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add = parser.add_argument
        add("-n", "--ranks", metavar="N", help="how many [tasks of the job, or cores]")
        add(
            "--requeue",
            metavar="N",
            default="0",
            help="start this job again when training stopped on request and its step "
            "has advanced, at most so many times [0]",
        )

    def __init__(self, args: argparse.Namespace) -> None:
        self.ranks = args.ranks and parse_integer("--ranks", args.ranks, 1)
        self.max_requeues = parse_integer("--requeue", args.requeue)
        self.words: list[str] = args.inner_words
        from .parser import parse  # which imports this module

        # a wrong command is refused here, by one process, before many are started
        command, inner_args = parse(self.words)
        self.trains = issubclass(command, TrainCommand)
        self.run_folder: str | None = None
        if issubclass(command, TrainCommand):
            self.run_folder = command(inner_args).run_folder
        if self.max_requeues and not self.run_folder:
            raise UsageError("--requeue: expected a training with --run, to go on with")

    def run(self, say: Printer) -> int:
        """Start the ranks, wait for them, and return their exit code."""
        from ..cluster import launcher

        if not (self.max_requeues and self.run_folder and launcher.in_slurm_job()):
            return _exit_code(self._start_ranks(self.words))
        from ..cluster import requeue

        words = self.words
        if requeue.record_start(self.run_folder, self.max_requeues):
            words = ["train", "--resume", self.run_folder]
        launcher.skip_used_step_ids(requeue.restart_count())
        process = self._start_ranks(words)
        code = _exit_code(process)
        if code == StopRequested.code:
            if process.ended:
                message = "not requeued: cancelled or terminated"
            else:
                message = requeue.requeue(self.run_folder, self.max_requeues)
            say(f"mpipgd launch: {message}")
        return code

    def _start_ranks(self, words: Sequence[str]) -> "RankProcess":
        from ..cluster import launcher

        command = launcher.launch_command(self.ranks)
        command += launcher.mpipgd_command(*words)
        env = launcher.launch_environment(self.ranks)
        if not self.trains:
            return launcher.RankProcess(command, env=env)
        # a training makes a checkpoint at SIGUSR1
        ready = lambda: True  # noqa: E731
        if self.run_folder:
            # written once the ranks have installed their handlers of signals
            ready = _watch_for_change(Path(self.run_folder, "env.json"))
        return launcher.RankProcess(command, ready, env=env, interrupt=signal.SIGUSR1)


def _exit_code(process: "RankProcess") -> int:
    """Wait for ranks; return their exit code, 130 where Ctrl-C left no checkpoint."""
    code = process.wait()
    if process.interrupted and code not in (0, StopRequested.code):
        return interrupts.INTERRUPTED
    return code


def _watch_for_change(path: Path) -> Callable[[], bool]:
    """Return a function that tells whether a file was written since this call."""

    def modified() -> int | None:
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return None

    before = modified()
    return lambda: modified() != before
