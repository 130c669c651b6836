"""Measure mpipgd against what else there is, interleaved in one run.

    python3 scripts/bench                    everything, in every environment there is
    python3 scripts/bench sgd sparse         some of it
    python3 scripts/bench --list             what there is

Runs in the environments that scripts/test has made (.venv-mpich, .venv-openmpi).
Results are appended to runs/bench.jsonl, and printed as one table.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))  # any Python starts this, the ranks have an environment

import measure  # noqa: E402

BENCHES = {  # name -> (module, ranks, one MPI is enough)
    "sgd": ("linear", 1, True),
    "reading": ("linear", 1, True),
    "sparse": ("linear", 1, True),
    "average": ("linear", 2, False),
    "softmax": ("linear", 2, False),
    "hogwild": ("linear", 2, False),
    "gradient": ("linear", 2, True),
    "step": ("steps", 2, False),
    "torch": ("steps", 2, False),
    "network": ("steps", 1, True),
    "exchange": ("exchange", (2, 4, 8), False),
    "stream": ("passes", 1, True),
    "shuffle": ("passes", 1, True),
    "many": ("passes", 1, True),
    "finish": ("passes", 1, True),
    "table": ("tables", 1, True),
    "bigtable": ("tables", 1, True),
}
ENV = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def launch(names, args):
    """Run benches under the mpirun of each environment; print one table."""
    folders = [ROOT / name for name in (".venv-mpich", ".venv-openmpi", ".venv")]
    environments = [path for path in folders if (path / "bin/mpirun").exists()][:2]
    if not environments:
        sys.exit("no environment: run scripts/test or scripts/quickstart first")
    args.out.parent.mkdir(exist_ok=True)
    before = args.out.read_text().count("\n") if args.out.exists() else 0
    for name in names:
        _, default_ranks, once = BENCHES[name]
        counts = default_ranks if isinstance(default_ranks, tuple) else (default_ranks,)
        for ranks in counts:
            for environment in environments[:1] if once else environments:
                start(name, environment, args.ranks or ranks, args)
    lines = args.out.read_text().splitlines()[before:]
    print("\n" + "\n".join(measure.table(map(json.loads, lines))))


def start(name, environment, ranks, args):
    """Run one bench in one environment."""
    print(f"{name}: {environment.name}, {ranks} ranks", file=sys.stderr, flush=True)
    command = [environment / "bin/mpirun", "-n", str(ranks)]
    command += [environment / "bin/python", Path(__file__).parent, name, "--inside"]
    command += ["--rounds", str(args.rounds), "--out", str(args.out.resolve())]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | ENV, timeout=1800, cwd=ROOT
    )
    if done.returncode:
        print(f"{name}: exit {done.returncode}", file=sys.stderr)


def inside(name, args):
    """Be one of the ranks of a bench; rank 0 keeps the results."""
    from mpipgd.comm import environment

    environment.configure_environment()
    from mpipgd.comm import mpi

    comm = mpi.world()
    bench = getattr(importlib.import_module(BENCHES[name][0]), name)
    about = {
        "bench": name,
        "mpi": mpi.library().split()[0].lower(),
        "ranks": comm.size,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    for case in bench(comm):
        barrier = lambda: mpi.wait_asleep(comm.Ibarrier())  # noqa: E731
        records = list(measure.run(case, args.rounds, barrier))
        if comm.rank == 0:
            measure.write([record | about for record in records], args.out)
            lines = measure.table(record | about for record in records)
            print("\n".join(lines[1:]), file=sys.stderr, flush=True)


def main():
    """Parse the arguments; start the ranks, or be one of them."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ranks", type=int, help="other than a bench's own")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench.jsonl")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for name in args.names:
        if name not in BENCHES:
            parser.error(f"unknown bench {name}: {', '.join(BENCHES)}")
    if args.list:
        return print("\n".join(BENCHES))
    if args.inside:
        return inside(args.names[0], args)
    launch(args.names or BENCHES, args)


if __name__ == "__main__":
    main()
