"""Write a job of SLURM that trains into a run folder, and submit it.

As `mpipgd submit --nodes=2 --ntasks-per-node=8 -- train DATA --epochs 100`: what stands
before "--" goes to sbatch, but for the flags below.
"""

from ..cluster.slurm import REQUEUES
from ..errors import UsageError
from . import parse, whole_number


def configure(parser):
    """Add the arguments."""
    parser.add_argument(
        "--requeues",
        metavar="N",
        default=str(REQUEUES),
        help="how often a job that ran out of time starts again, while its step "
        f"advances [{REQUEUES}]",
    )
    parser.add_argument(
        "--print", action="store_true", help="print the script, and submit nothing"
    )
    parser.set_defaults(rest=[])


def check(args):
    """Refuse, before anything is submitted, a command that could not run."""
    args.requeues = whole_number("--requeues", args.requeues)
    module, inner = parse(args.words)
    if inner.command != "train":
        raise UsageError(f"submit -- {inner.command}: expected train")
    if inner.resume:
        raise UsageError("submit -- train --resume: use 'scontrol requeue JOB'")
    module.check(inner)
    args.train = inner.train


def alone(args, say):
    """Write the script and submit it."""
    from ..cluster import slurm
    from ..reporting import folders

    train = args.train
    given = train.run or ("RUN" if args.print else None)
    folder = given or folders.create_run_folder(None, train.data, train.strategy)
    if not args.print:
        folder = folders.create_run_folder(
            folder, train.data, train.strategy
        ).absolute()
    words = args.words if train.run else [*args.words, "--run", str(folder)]
    text = slurm.training(words, args.rest, folder, requeues=args.requeues)
    if args.print:
        say(text.rstrip("\n"))
        return 0
    path = folder / "job.sbatch"
    path.write_text(text)
    job = slurm.submit(path)
    say(f"job {job}: {path}")
    say(f"follow it: mpipgd status {folder}; tail -F {folder}/slurm-{job}.out")
    say(f"stop it with a checkpoint: scancel --batch --signal=USR1 {job}")
    return 0
