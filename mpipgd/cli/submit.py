"""mpipgd submit."""

import argparse

from ..cluster.slurm import MAX_REQUEUES
from ..errors import UsageError
from .base import Printer, StandaloneCommand, parse_integer
from .train import TrainCommand


class SubmitCommand(StandaloneCommand):
    """Write a job of SLURM that trains into a run folder, and submit it.

    As `mpipgd submit --nodes=2 --ntasks-per-node=8 -- train DATA --epochs 100`: what
    stands before "--" goes to sbatch, but for the flags below.
    """

    name = "submit"
    help = "write a job of SLURM into a run folder, and submit it"
    takes_inner_command = True
    takes_unknown_flags = True

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--requeues",
            metavar="N",
            default=str(MAX_REQUEUES),
            help="how often a job that ran out of time starts again, while its step "
            f"advances [{MAX_REQUEUES}]",
        )
        parser.add_argument(
            "--print", action="store_true", help="print the script, and submit nothing"
        )

    def __init__(self, args: argparse.Namespace) -> None:
        from .parser import parse  # which imports this module

        self.max_requeues = parse_integer("--requeues", args.requeues)
        self.print_only: bool = args.print
        self.sbatch_options: list[str] = args.unknown_words
        self.words: list[str] = args.inner_words
        command, inner_args = parse(self.words)
        if not issubclass(command, TrainCommand):
            raise UsageError(f"submit -- {command.name}: expected train")
        if inner_args.resume:
            raise UsageError("submit -- train --resume: use 'scontrol requeue JOB'")
        self.config = command(inner_args).config

    def run(self, say: Printer) -> int:
        """Write the script and submit it."""
        from ..cluster import slurm
        from ..reporting import run_folder

        config = self.config
        if self.print_only:
            say(self._script(config.run or "RUN").rstrip("\n"))
            return 0
        folder = run_folder.create_run_folder(
            config.run or None, config.data, config.strategy
        )
        folder = folder.absolute()
        path = folder / "job.sbatch"
        path.write_text(self._script(str(folder)))
        job = slurm.submit(path)
        say(f"job {job}: {path}")
        say(f"follow it: mpipgd status {folder}; tail -F {folder}/slurm-{job}.out")
        say(f"stop it with a checkpoint: scancel --batch --signal=USR1 {job}")
        return 0

    def _script(self, folder: str) -> str:
        from ..cluster import slurm

        words = self.words if self.config.run else [*self.words, "--run", folder]
        return slurm.training_script(
            words, self.sbatch_options, folder, max_requeues=self.max_requeues
        )
