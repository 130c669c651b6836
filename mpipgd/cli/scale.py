"""mpipgd scale."""

import argparse
import dataclasses
import glob
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, UsageError
from ..studies.scaling.network import parse_network
from .base import Printer, StandaloneCommand, parse_integer
from .train import add_study_flags, check_flags_are_used, given_options

if TYPE_CHECKING:
    from ..studies.scaling.study import Study

MODES = {"strong": ("strong",), "weak": ("weak",), "both": ("strong", "weak")}


class ScaleCommand(StandaloneCommand):
    """Run a training on several numbers of ranks, and write what came out as one page.

    As `mpipgd scale DATA --ranks 1,2,4,8`, outside MPI: it starts the runs itself, by
    mpirun here, with --slurm as a job for each number of ranks. Interrupted, it goes on
    with `mpipgd scale --out DIR`. Strong scaling shares a global batch among the ranks.
    """

    name = "scale"
    help = "train on several numbers of ranks, and say how it scales"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the flags of a study, and those that its runs share."""
        add = parser.add_argument
        add("--ranks", metavar="N1,N2", default="1,2", help="numbers of ranks [1,2]")
        add(
            "--mode",
            choices=MODES,
            default="strong",
            help="what more ranks get [strong]",
        )
        add("--repeat", metavar="N", default="5", help="runs of each, in turn [5]")
        add(
            "--strategies",
            metavar="LIST",
            default="sync",
            help="settings side by side, as sync,average:n_sync=5 [sync]",
        )
        add(
            "--global-batch",
            metavar="N",
            help="rows a step that ranks share in strong mode (sync) [--batch-size of "
            "the most ranks]",
        )
        _add_where(parser.add_argument_group("where"))
        _add_cost_model(parser.add_argument_group("a cost model that predicts"))
        add_study_flags(parser)

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.repeat = parse_integer("--repeat", args.repeat, 1)
        self.ranks = parse_integers("--ranks", args.ranks)
        self.only = parse_integers("--only", args.only) if args.only else None
        self.global_batch = args.global_batch and parse_integer(
            "--global-batch", args.global_batch, 1
        )
        self.predict = parse_integers("--predict", args.predict) if args.predict else ()
        self.network = args.network and parse_network(args.network)
        self.per_node = args.per_node and parse_integer("--per-node", args.per_node, 1)
        if args.slurm and args.calibrate:
            raise UsageError(
                "--calibrate with --slurm: expected one job, for it measures several "
                "numbers of ranks in turn; see slurm/scaling.sbatch"
            )
        self.options = given_options(args)

    def run(self, say: Printer) -> int:
        """Run the study, or what is missing of it; 1 where all of its runs failed."""
        from ..studies.scaling import calibrate, report, runner

        args = self.args
        study, folder = self._open_study()
        if args.slurm:
            runner.submit_jobs(study, folder, shlex.split(args.sbatch), say)
            return 0
        if self.predict:
            report.save_forecast_request(
                folder, self.predict, self.network, self.per_node
            )

        def before(repeat: int) -> None:
            if args.calibrate:
                calibrate.calibrate(study, folder, repeat)

        if not args.collect:
            runner.run_missing(study, folder, say, ranks=self.only, before=before)
        for line in ["", *report.write_report(study, folder)]:
            say(line)
        say(
            f"\nlook at {folder}/index.html; tables: results.csv, runs.jsonl, "
            "extrap.txt"
        )
        runs = runner.read_runs(study, folder)
        if runs and all(run["status"] != "ok" for run in runs):
            say(f"all {len(runs)} runs failed; the first: {runs[0]['status']}")
            return 1
        return 0

    def _open_study(self) -> "tuple[Study, Path]":
        """Return the study of --out and its folder, or else a new study and folder."""
        from ..config.options import BUNDLED, TrainConfig
        from ..reporting import run_folder
        from ..studies.compare import settings
        from ..studies.scaling import runner, study

        out = self.args.out
        if out and Path(out, "study.json").exists() and not self.options:
            return study.read(out), Path(out).absolute()
        if self.only or self.args.collect:
            raise UsageError(
                "--only and --collect take the --out DIR of a study that is there"
            )
        data = TrainConfig(**self.options).data
        new_study = study.Study(  # refuses what cannot be, before a folder is made
            name=Path(data).name.removesuffix(".h5"),
            settings=settings.parse(self.args.strategies, [], self.options),
            ranks=self.ranks,
            modes=MODES[self.args.mode],
            repeat=self.repeat,
            global_batch=self.global_batch,
        )
        check_flags_are_used(self.args, new_study.settings.values())
        if data not in BUNDLED and not glob.glob(data):
            raise DataError(f"{data}: there is no such file or folder")
        with run_folder.NewFolder(
            partial(_create_folder, out, data),
            given=out and Path(out).absolute(),
            inside="runs",
            begun="study.json",
        ) as new_folder:
            folder = new_folder.create()
            configs = {
                label: runner.with_data_file(config, folder, min(self.ranks))
                for label, config in new_study.settings.items()
            }
            new_study = dataclasses.replace(new_study, settings=configs)
            new_study.write(folder)
        return new_study, folder


def _create_folder(out: str | None, data: str) -> Path:
    from ..reporting.run_folder import create_folder

    return create_folder(out, data, "scale", inside="runs").absolute()


def parse_integers(flag: str, text: str) -> tuple[int, ...]:
    """Return the numbers in a text such as 1,2,4, sorted and without duplicates."""
    return tuple(sorted({parse_integer(flag, item, 1) for item in text.split(",")}))


def _add_where(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--out", metavar="DIR", help="the folder (default: runs/TIME-DATA-scale)")
    add("--only", metavar="N1,N2", help="of a study in DIR, run these numbers of ranks")
    add("--collect", action="store_true", help="run nothing: write what is there")
    add("--slurm", action="store_true", help="submit a job for each number of ranks")
    add("--sbatch", metavar="OPTIONS", default="", help="sbatch's, as '--time=10:00'")


def _add_cost_model(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--calibrate",
        action="store_true",
        help="in turn with the runs, measure steps on one rank and exchanges on "
        "several, and compare what they predict with what is measured",
    )
    add(
        "--predict",
        metavar="N1,N2",
        nargs="?",
        const="16,64,256,1024,4096",
        help="predict so many ranks, see --calibrate [16,64,256,1024,4096]",
    )
    add(
        "--network",
        metavar="FIGURES",
        help="between nodes, where it is not measured: latency=2us,bandwidth=12GB/s",
    )
    add("--per-node", metavar="N", help="ranks a node for --predict [the cores here]")
