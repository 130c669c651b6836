"""The commands in the READMEs' sh blocks work as printed.

Those that are quick run here, in the order of their file; the others are parsed, or
asked for their help: LONG says why.
"""

import gzip
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mpipgd import cli

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md", "data/README.md", "slurm/README.md", "scripts/bench/README.md",
    "CONTRIBUTING.md",
)  # fmt: skip
RUN_COMMANDS = {
    *("train", "evaluate", "predict", "coef", "export", "report", "status", "data"),
}
LONG = {  # program -> why it is not run
    "scripts/quickstart": "it installs an environment, for a minute",
    "scripts/test": "it runs this test",
    "scripts/environment": "it installs an environment, for a minute",
    ".venv-mpich/bin/ruff": "it checks all files: .ci does",
    ".venv-mpich/bin/mypy": "it checks all files: .ci does",
    ".venv-mpich/bin/python": "it runs other tests",
    ".venv-mpich/bin/mpirun": "it runs other tests",
    "source": "it wants an environment that was installed, or a site",
    "eval": "it changes the shell",
    "export": "it only sets variables",
    "sbatch": "it wants SLURM: scripts/test --cluster",
    "srun": "it wants SLURM: scripts/test --cluster",
    "scancel": "it wants SLURM: scripts/test --cluster",
    "scontrol": "it wants SLURM: scripts/test --cluster",
}
LONG_COMMANDS = {  # command of mpipgd -> why it is parsed only
    "compare": "it trains for minutes",
    "scale": "it trains for minutes",
    "submit": "it wants SLURM",
    "doctor": "what it finds depends on this machine",
}


def printed_commands(page):
    """Return the commands in the sh blocks of a page, as lists of words."""
    text = (ROOT / page).read_text()
    blocks = [part.split("```")[0] for part in text.split("```sh\n")[1:]]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for line in words if line for command in split_at_and(line)]


def split_at_and(words):
    """Return the commands of a line that are joined by &&."""
    commands = [[]]
    for word in words:
        if word == "&&":
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


def mpipgd_words(words):
    """Return the words of a command of mpipgd, however it is started; else None."""
    if "-m" in words and words[words.index("-m") + 1] == "mpipgd":
        return words[words.index("-m") + 2 :]
    return words[1:] if words[0] == "mpipgd" else None


def write_tables(folder):
    """Write small tables with the columns that the commands name."""
    rng = np.random.default_rng(0)
    levels = {
        "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
        "color": list("JIHGFED"),
        "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
    }
    rows = [",".join(["carat", *levels, "price"])]
    for _ in range(300):
        carat = rng.uniform(0.2, 3)
        texts = [rng.choice(names) for names in levels.values()]
        rows.append(",".join([f"{carat:.2f}", *texts, str(int(5000 * carat))]))
    text = "\n".join(rows) + "\n"
    for name in ("diamonds.csv.gz", "measurements.csv.gz"):
        with gzip.open(folder / name, "wt") as file:
            file.write(text)
    (folder / "data").mkdir()
    (folder / "diamonds.csv").write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with the tables, in which the commands run."""
    write_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_mpipgd_run_or_parse(page, site, mpipgd):
    for printed in printed_commands(page):
        words = mpipgd_words(printed)
        if words is None or printed[0] in LONG:
            continue
        if words[0] == "status":
            runs = [str(path) for path in Path("runs").glob("*")] or ["."]
            words = ["status", *runs]
        words = [word.replace("1000000", "2000") for word in words]
        words = ["digits" if word == "DATA" else word for word in words]
        command, args = cli.parse(words)
        command(args)
        if command.name in LONG_COMMANDS:
            continue
        assert command.name in RUN_COMMANDS, f"{page}: say how to test {printed}"
        code, _, err = mpipgd(*words)
        assert code == 0, f"{page}: {shlex.join(printed)}: {err}"


@pytest.mark.programs
@pytest.mark.parametrize("page", PAGES)
def test_other_commands_are_there(page):
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    clean = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    for printed in printed_commands(page):
        program = printed[0]
        if mpipgd_words(printed) is not None:
            continue
        if program == "python3":
            done = subprocess.run(  # the benches that there are, instead of a run
                [python, printed[1], "--list"],
                cwd=ROOT,
                env=clean,
                timeout=60,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            names = {word for word in printed[2:] if not word.startswith("-")}
            assert names <= set(done.stdout.split()), f"{page}: {shlex.join(printed)}"
            continue
        assert program in LONG, f"{page}: say how to test {shlex.join(printed)}"
        if program.startswith("scripts/"):
            assert os.access(ROOT / program, os.X_OK)
        scripts = [word for word in printed if word.startswith("slurm/")]
        assert all((ROOT / script).exists() for script in scripts)
