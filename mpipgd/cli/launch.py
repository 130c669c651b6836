"""Start a command's ranks: by mpirun here, by srun in a job of SLURM.

As `mpipgd launch -n 8 -- train digits`; signals are passed on. In a job's script, with
--requeue, a training that was stopped before the time limit goes back into the queue,
and on from its checkpoint when the job starts again.
"""

from pathlib import Path

from ..errors import StopRequested, UsageError
from . import parse, whole_number


def configure(parser):
    """Add the arguments."""
    add = parser.add_argument
    add("-n", "--ranks", metavar="N", help="how many [tasks of the job, or cores]")
    add(
        "--requeue",
        metavar="N",
        default="0",
        help="start this job again when training stopped on request and its step has "
        "advanced, at most so many times [0]",
    )


def check(args):
    """Refuse numbers that are none, and a requeue without a run folder."""
    args.ranks = args.ranks and whole_number("--ranks", args.ranks, 1)
    args.requeue = whole_number("--requeue", args.requeue)
    args.run = _run_folder(args.words)
    if args.requeue and not args.run:
        raise UsageError("--requeue: expected a training with --run, to go on with")


def _run_folder(words):
    """Return the run folder that a training names, or None; refuse it if it cannot be.

    What is wrong with it one process says, before many are started.
    """
    module, args = parse(words)
    if args.command != "train":
        return None
    module.check(args)
    return args.resume or args.train.run


def alone(args, say):
    """Start the ranks, wait for them, and return their exit code."""
    from ..cluster import launcher

    words = args.words
    if not (args.requeue and launcher.in_job()):
        return _started(words, args)
    from ..cluster import requeue

    if requeue.record_start(args.run, args.requeue):
        words = ["train", "--resume", args.run]
    launcher.skip_used_step_ids(requeue.restarts())
    code = _started(words, args)
    if code == StopRequested.code:
        say(f"mpipgd launch: {requeue.requeue(args.run, args.requeue)}")
    return code


def _started(words, args):
    from ..cluster import launcher

    command = launcher.launch_command(args.ranks) + launcher.mpipgd_command(*words)
    ready = _changes(Path(args.run, "env.json")) if args.run else lambda: True
    env = launcher.environment(args.ranks)
    return launcher.RankProcess(command, ready, env=env).wait()


def _changes(path):
    """Return a function that says whether a file has been written since."""

    def written():
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return None

    before = written()
    return lambda: written() != before
