"""What a table's import tells unasked, or refuses, so that no number is wrong later."""

import json

import numpy as np
import pytest

from mpipgd import train
from mpipgd.comm import mpi

from ..support import options


@pytest.fixture
def table(tmp_path, rng, monkeypatch):
    """Write a table with the given label column in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(labels, **columns):
        columns = {"x": rng.normal(size=60), **columns, "label": labels}
        rows = zip(*columns.values())
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


COMMANDS = {
    "train": ("train", "table.csv", "--epochs", 1, "--run", "runs/run"),
    "import": ("data", "import", "table.csv", "table.h5"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_two_whole_numbers_are_classes_and_that_is_told(table, rng, mpipgd, command):
    table(rng.integers(0, 2, 60))
    code, out, _ = mpipgd(*COMMANDS[command])
    assert code == 0 and "2 classes" in out
    assert "label holds 2 whole numbers, taken as classes; --task regression" in out


def test_by_task_they_are_numbers(table, rng, mpipgd):
    table(rng.integers(0, 2, 60))
    code, out, _ = mpipgd(*COMMANDS["import"], "--task", "regression")
    assert code == 0 and "regression" in out and "notice" not in out


@pytest.mark.parametrize("command", COMMANDS)
def test_whole_numbers_that_lose_digits_are_told(table, rng, mpipgd, command):
    table(rng.normal(size=60), key=[9007199254740993000 + k for k in range(60)])
    out = mpipgd(*COMMANDS[command])[1]
    assert "key holds whole numbers above 2^53" in out and "--drop-column" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_label_cannot_be_dropped(table, rng, mpipgd, command):
    table(rng.normal(size=60))
    code, _, err = mpipgd(*COMMANDS[command], "--drop-column", "label")
    assert code == 2 and "label is the label" in err


@pytest.mark.parametrize("name", ["X", "y"])
def test_numbers_that_are_none_are_refused_by_the_import(tmp_path, rng, mpipgd, name):
    arrays = {"X": rng.normal(size=(20, 3)), "y": rng.normal(size=20)}
    arrays[name].flat[4] = np.nan
    np.savez(tmp_path / "data.npz", **arrays)
    out = tmp_path / "data.h5"
    code, _, err = mpipgd("data", "import", tmp_path / "data.npz", out)
    assert code == 3 and "nan" in err and not out.exists()


def test_a_source_is_not_replaced_by_what_is_made_of_it(table, rng, mpipgd):
    path = table(rng.normal(size=60))
    before = path.read_bytes()
    for words in ((), ("--overwrite",)):
        assert mpipgd("data", "import", path, path, *words)[0] == 2
    assert path.read_bytes() == before


def test_a_run_does_not_go_on_with_a_table_that_has_changed(table, rng, mpipgd):
    labels = rng.normal(size=60)
    table(labels)
    assert mpipgd(*COMMANDS["train"])[0] == 0
    table(labels + 1)
    code, _, err = mpipgd("--resume", "runs/run", "--epochs", 2)
    assert code == 3 and "the data is not that" in err and "--allow-changed" in err
    words = "--resume", "runs/run", "--epochs", 2, "--allow-changed-data"
    assert mpipgd(*words)[0] == 0
    summary = json.loads((table(labels).parent / "runs/run/summary.json").read_text())
    assert summary["epochs"] == 2


def test_numbers_that_differ_by_rounding_alone_do_no_harm(tmp_path):
    rows = [f"{10**18 + 97 * k},{k % 7}.5,{k}.5" for k in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(["key,a,y", *rows]) + "\n")
    config = options(tmp_path / "t.csv", tmp_path / "runs" / "r", workers=1)
    assert train(config, comm=mpi.comm_self())["loss"] < 1000
