"""Run a training on several numbers of ranks, and write what came out as one page.

As `mpipgd scale DATA --ranks 1,2,4,8`, outside MPI: it starts the runs itself, by
mpirun here, with --slurm as a job for each number of ranks. Interrupted, it goes on
with `mpipgd scale --out DIR`. Strong scaling shares a global batch among the ranks.
"""

import shlex

from ..errors import UsageError
from ..studies.scaling.network import parse_network
from . import train, whole_number

MODES = {"strong": ("strong",), "weak": ("weak",), "both": ("strong", "weak")}


def configure(parser):
    """Add the flags of a study, and those of a run but for its strategy."""
    add = parser.add_argument
    add("--ranks", metavar="N1,N2", default="1,2", help="numbers of ranks [1,2]")
    add("--mode", choices=MODES, default="strong", help="what more ranks get [strong]")
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
        help="rows a step that ranks share in strong mode (sync) [--batch-size of the "
        "most ranks]",
    )
    _where(parser.add_argument_group("where"))
    _model(parser.add_argument_group("a model that foretells"))
    train.configure(parser, without=("strategy", "run", "picture", "quiet"))


def _where(group):
    add = group.add_argument
    add("--out", metavar="DIR", help="the folder (default: runs/TIME-DATA-scale)")
    add("--only", metavar="N1,N2", help="of a study in DIR, run these numbers of ranks")
    add("--collect", action="store_true", help="run nothing: write what is there")
    add("--slurm", action="store_true", help="submit a job for each number of ranks")
    add("--sbatch", metavar="OPTIONS", default="", help="sbatch's, as '--time=10:00'")


def _model(group):
    add = group.add_argument
    add(
        "--calibrate",
        action="store_true",
        help="in turn with the runs, measure steps on one rank and exchanges on "
        "several, and compare what they foretell with what is measured",
    )
    add(
        "--predict",
        metavar="N1,N2",
        nargs="?",
        const="16,64,256,1024,4096",
        help="foretell so many ranks, see --calibrate [16,64,256,1024,4096]",
    )
    add(
        "--network",
        metavar="FIGURES",
        help="between nodes, where it is not measured: latency=2us,bandwidth=12GB/s",
    )
    add("--per-node", metavar="N", help="ranks a node for --predict [the cores here]")


def check(args):
    """Refuse, before anything starts, a study that cannot be."""
    args.repeat = whole_number("--repeat", args.repeat, 1)
    args.ranks = numbers("--ranks", args.ranks)
    args.only = args.only and numbers("--only", args.only)
    if args.global_batch:
        args.global_batch = whole_number("--global-batch", args.global_batch, 1)
    args.predict = numbers("--predict", args.predict) if args.predict else ()
    args.network = args.network and parse_network(args.network)
    args.per_node = args.per_node and whole_number("--per-node", args.per_node, 1)
    if args.slurm and args.calibrate:
        raise UsageError(
            "--calibrate with --slurm: expected one job, for it measures several "
            "numbers of ranks in turn; see slurm/scaling.sbatch"
        )
    args.base = train.options(args)


def numbers(flag, text):
    """Return the numbers in a text such as 1,2,4, in order."""
    return tuple(sorted({whole_number(flag, each, 1) for each in text.split(",")}))


def alone(args, say):
    """Run the study, or what is missing of it, and write what came out."""
    from ..studies.scaling import calibrate, finish, runner

    study, folder = _study(args)
    if args.slurm:
        runner.submit_jobs(study, folder, shlex.split(args.sbatch), say)
        return 0
    if args.predict:
        finish.save_forecast_request(folder, args.predict, args.network, args.per_node)

    def before(turn):
        if args.calibrate:
            calibrate.calibrate(study, folder, turn)

    if not args.collect:
        runner.run_missing(study, folder, say, ranks=args.only, before=before)
    for line in ["", *finish.write_report(study, folder)]:
        say(line)
    say(f"\nlook at {folder}/index.html; tables: results.csv, runs.jsonl, extrap.txt")
    return 0


def _study(args):
    """Return the study that is meant, and its folder: an old one, or a new one."""
    from pathlib import Path

    from ..config import toml
    from ..config.options import TrainConfig
    from ..reporting import folders
    from ..studies.compare import settings
    from ..studies.scaling import runner, study

    given = args.base.keys() - {"data"} or "data" in args.base
    if args.out and Path(args.out, "study.json").exists() and not given:
        return study.read(args.out), Path(args.out).absolute()
    if args.only or args.collect:
        raise UsageError(
            "--only and --collect take the --out DIR of a study that is there"
        )
    data = TrainConfig(**args.base).data
    made = settings.parse(args.strategies, [], args.base)
    name = Path(data).name.removesuffix(".h5")
    more = args.ranks, MODES[args.mode], args.repeat, args.global_batch
    study.Study(name, made, *more)  # refuses what cannot be, before a folder is
    folder = folders.create_folder(args.out, data, "scale", inside="runs").absolute()
    path = runner.resolve_data(data, folder)
    made = {k: toml.replace(each, data=path) for k, each in made.items()}
    found = study.Study(name, made, *more)
    found.write(folder)
    return found, folder
