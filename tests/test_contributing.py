"""The recipes of CONTRIBUTING.md, applied to a copy of the package and run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
# in numpy: a copy of the package would compile its kernels for minutes
RUN = "--epochs", "2", "--kernels", "numpy", "--no-picture", "--quiet"
RECIPES = {  # section -> commands of mpipgd; the last trains into "run"
    "Add a strategy": [
        ["digits", "--strategy", "rarely", "--workers", "4", *RUN, "--run", "run"],
    ],
    "Add a loss": [["diabetes", "--loss", "logcosh", *RUN, "--run", "run"]],
    "Add an optimizer": [
        ["digits", "--optimizer", "signum", "--lr", "0.01", *RUN, "--run", "run"],
    ],
    "Add a model": [["diabetes", "--model", "gaussian", *RUN, "--run", "run"]],
    "Add a data format": [
        ["data", "import", "rows.dat", "rows.h5"],
        ["rows.h5", *RUN, "--run", "run"],
    ],
}


def diff_of(section):
    """Return the diff of a section."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    body = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.search(r"```diff\n(.*?)```", body, re.S)[1]


def apply(diff, folder):
    """Apply a diff to the files of a folder, each hunk where its lines are found."""
    for part in re.split(r"(?m)^(?=--- )", diff)[1:]:
        header, *hunks = re.split(r"(?m)^@@.*\n", part)
        path = folder / re.search(r"\+\+\+ b/(.*)", header)[1]
        text = path.read_text() if path.exists() else ""
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] != "+")
            after = "".join(line[1:] for line in lines if line[0] != "-")
            assert before == "" or text.count(before) == 1, (
                f"CONTRIBUTING.md quotes lines that {path.name} lacks:\n{before}"
            )
            text = text.replace(before, after, 1) if before else after
        path.write_text(text)


def test_all_recipes_are_tested():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    sections = re.findall(r"\n## (Add .*)\n", text)
    assert set(sections) == {*RECIPES, "Add an option"}


@pytest.mark.parametrize("section", RECIPES)
def test_a_recipe_works(section, tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "mpipgd", tmp_path / "mpipgd", ignore=ignore)
    apply(diff_of(section), tmp_path)
    rng = np.random.default_rng(1)
    np.savetxt(tmp_path / "rows.dat", rng.normal(size=(50, 4)))
    for command in RECIPES[section]:
        result = subprocess.run(
            [sys.executable, "-m", "mpipgd", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    _, first, last = (
        json.loads(line)["loss"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "epoch"
    )
    assert summary["exit"] == 0 and last < first
