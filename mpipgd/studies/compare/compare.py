"""Several settings on the same data, plan and seeds, one after another."""

import dataclasses
import itertools
import pathlib

from ...comm import mpi
from ...data.create.bundled import BUNDLED
from ...data.create.make import make_bundled
from ...errors import DivergenceError, MpipgdError, UsageError
from ...reporting import folders
from ...training import run
from . import page, ranking
from .optimum import solve_reference


def compare(settings, *, out=None, repeat=1, gap=0.1, comm, say, command=""):
    """Train with each of the settings (label -> options); write tables and a page.

    Repeats take the seeds seed, seed+1, …, and are the outer loop, so that what
    disturbs the machine disturbs all settings. `gap` is what may be left of the way
    from the first weights to the optimum at the target. Collective; returns the ranked
    rows. A setting that diverges is a row that says so.
    """
    first = next(iter(settings.values()))
    folder = mpi.on_root(comm, _new_folder, out, first.data)
    data = mpi.on_root(comm, _data, folder, first.data)
    best = solve_reference(dataclasses.replace(first, data=data), comm=comm)
    if best.objective is not None:
        say(
            f"optimum {best.objective:.6g} by L-BFGS in {best.iterations} iterations "
            f"(largest slope {best.gradient_norm:.1g})"
        )
    runs = []
    for label, options, again in _all(settings, repeat, folder / "runs"):
        status = _train_one(dataclasses.replace(options, data=data), comm)
        runs.append(
            mpi.on_root(comm, ranking.run_result, label, options, again, status)
        )
        say(f"{len(runs)}/{repeat * len(settings)}  {ranking.line(runs[-1])}")
    facts = _common([_facts(each, comm.size) for each in settings.values()])
    facts |= {"command": command} if command else {}
    made = ranking.Comparison(runs, best, gap, repeat, facts)
    mpi.on_root(comm, _write, folder, made)
    say()
    for text in ranking.table(made):
        say(text)
    say(f"\nlook at {folder}/index.html; tables: results.csv, table.md")
    return made.rows


def _all(settings, repeat, folder):
    """Yield label, options and number of the repeat for each run, in their order."""
    names = enumerate(itertools.product(range(repeat), settings.items()))
    for number, (again, (label, options)) in names:
        name = f"{number:03d}-" + "".join(c if c.isalnum() else "-" for c in label)
        more = {"run": str(folder / name), "seed": options.seed + again}
        more |= {"quiet": True, "picture": False}
        yield label, dataclasses.replace(options, **more), again


def _train_one(options, comm):
    """Train; return how it ended, on all ranks, those included that had no worker."""
    status = "ok"
    with mpi.raise_collectively(comm):
        try:
            run.train(options, comm=comm)
        except DivergenceError:
            status = "diverged"
        except MpipgdError as refusal:  # not yet known to ranks without a worker
            raise type(refusal)(str(refusal)) from refusal
    return comm.bcast(status)


def _data(folder, data):
    """Return the path of the data; a bundled set is made once."""
    if data not in BUNDLED or pathlib.Path(data).exists():
        return data
    make_bundled(data, folder / "data.h5")
    return str(folder / "data.h5")


def _new_folder(out, data):
    if out and pathlib.Path(out, "runs").exists():
        raise UsageError(f"--out {out} holds a comparison: name another folder")
    return folders.create_folder(out, data, "compare", inside="runs").absolute()


def _common(facts):
    """Return the facts on which all settings agree."""
    rest = [each.items() for each in facts[1:]]
    return {k: v for k, v in facts[0].items() if all((k, v) in each for each in rest)}


def _facts(options, ranks):
    """Return what a setting is beside its strategy."""
    loss = options.loss or "the task's loss"
    penalty = f"{options.penalty} {','.join(map(str, options.alpha))}"
    return {
        "data": pathlib.Path(options.data).name,
        "model": f"{options.model}, {loss}, penalty {penalty}",
        "ranks": ranks,
        "workers": options.workers or ranks,
        "batch": f"{options.batch_size} rows a worker",
        "steps": f"{options.optimizer}, lr {options.lr} {options.schedule}",
        "epochs": options.epochs,
    }


def _write(folder, made):
    ranking.write(folder, made)
    page.write(folder, made)
