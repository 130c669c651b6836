"""What the recipes share: their arguments, and a command of mpipgd under mpirun."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
ENV = {  # what Open MPI wants as root, and with more ranks than cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def arguments(text, name, **more):
    """Return a parser with the folder OUT and --ranks; `more` adds flags."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=text, formatter_class=form)
    parser.add_argument("out", metavar="OUT", nargs="?", default=f"runs/{name}")
    parser.add_argument("--ranks", type=int, default=2)
    for flag, settings in more.items():
        parser.add_argument(f"--{flag}", **settings)
    return parser


def mpipgd(ranks, *words):
    """Run one command of mpipgd under mpirun."""
    command = [BIN / "mpirun", "-n", str(ranks), sys.executable, "-m", "mpipgd"]
    subprocess.run(
        [*command, *map(str, words)],
        env=os.environ | ENV,
        check=True,
        stdin=subprocess.DEVNULL,
    )


def compare(args, data, name, settings, flags):
    """Compare settings on a data file; return the folder of the page."""
    out = Path(args.out) / name
    print(f"\n== {name}", flush=True)
    strategies = ["--strategies", ",".join(settings), "--out", out]
    mpipgd(args.ranks, "compare", data, *strategies, *flags.split())
    return out


def import_arrays(path, X, y, *flags):
    """Write features and targets as a data file, and return its path."""
    import numpy as np

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path.with_suffix(".npz"), X=X, y=y)
        mpipgd(1, "data", "import", path.with_suffix(".npz"), path, *flags)
    return path


def source_data(folder):
    """Make 1000 × 100 rows without noise, of effective rank 100; 20 % are for tests."""
    from sklearn.datasets import make_regression

    X, y = make_regression(1000, 100, effective_rank=100, noise=0.0, random_state=1)
    flags = "--task", "regression", "--test-size", "0.2", "--seed", "1"
    return import_arrays(Path(folder) / "made.h5", X, y, *flags)


DIAMONDS = [
    *("--target", "price", "--seed", "1"),
    *("--ordinal", "cut=Fair<Good<Very Good<Premium<Ideal"),
    *("--ordinal", "color=J<I<H<G<F<E<D"),
    *("--ordinal", "clarity=I1<SI2<SI1<VS2<VS1<VVS2<VVS1<IF"),
]


def diamonds(csv, folder):
    """Import the diamonds from a CSV file: the price by nine numbers and orders."""
    path = Path(folder) / "diamonds.h5"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        mpipgd(1, "data", "import", csv, path, *DIAMONDS)
    return path
