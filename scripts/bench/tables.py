"""Whole commands that import a CSV, against pandas and pyarrow with h5py."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import Case, timed

BLOCK_ROWS = 50_000
COLORS = np.array(["red", "green", "blue", "black"])
READ = {
    "pandas": "t = pandas.read_csv(path); t = pandas.get_dummies(t, dtype=float)",
    "pyarrow": "t = pyarrow.csv.read_csv(path).to_pandas(); "
    "t = pandas.get_dummies(t, dtype=float)",
}
PROGRAM = """
import h5py, pandas{more}
path, out = {paths!r}
{read}
y = t.pop("y").to_numpy()
with h5py.File(out, "w") as file:
    file["X"], file["y"] = t.to_numpy(), y
"""


def table(comm):
    """Import 95 MB."""
    yield from importing(500_000)


def bigtable(comm):
    """Import 1 GB."""
    yield from importing(5_250_000)


def importing(rows):
    """Yield the case of a CSV of some rows, 19 numbers, a text and a target."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        write(path, rows)
        out = str(Path(folder, "o.h5"))
        sides = {}
        for name, read in READ.items():
            more = ", pyarrow.csv" if name == "pyarrow" else ""
            program = PROGRAM.format(read=read, paths=(str(path), out), more=more)
            sides[name] = command(sys.executable, "-c", program)
        words = "-m", "mpipgd", "data", "import", path, out, "--overwrite"
        alone = sys.executable, *words
        mpirun = Path(sys.executable).with_name("mpirun")
        sides["1 rank"] = command(*alone)
        sides["2 ranks"] = command(mpirun, "-n", "2", *alone)
        label = f"CSV, {path.stat().st_size / 1e6:,.0f} MB"
        for base in READ:
            notes = {"peak_mb": peak_megabytes(alone)} if base == "pandas" else {}
            yield Case(label, sides, base, ("1 rank", "2 ranks"), 0.5, notes)


def write(path, rows):
    """Write the CSV in blocks."""
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write(",".join([*(f"x{k}" for k in range(19)), "color", "y"]) + "\n")
        for lo in range(0, rows, BLOCK_ROWS):
            n = min(BLOCK_ROWS, rows - lo)
            numbers, y = rng.normal(size=(n, 19)), rng.normal(size=n)
            color = rng.choice(COLORS, n)
            for x, text, target in zip(numbers.round(6).tolist(), color, y.round(4)):
                file.write(f"{','.join(map(repr, x))},{text},{target}\n")


def environment():
    """Return the variables of this process without those of its mpirun."""
    prefixes = "PMI", "PMIX", "OMPI_COMM", "PRTE_LAUNCHED", "HYDRA", "HYDI", "MPIR"
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes)
    }


def command(*words):
    """Return a function that runs a command, and returns its seconds."""
    words, env = [str(word) for word in words], environment()
    return lambda: timed(
        lambda: subprocess.run(words, check=True, env=env, capture_output=True)
    )


def peak_megabytes(words):
    """Return the most memory that a command has had at once."""
    process = subprocess.Popen(
        [str(word) for word in words], env=environment(), stdout=subprocess.DEVNULL
    )
    return os.wait4(process.pid, 0)[2].ru_maxrss / 1024
