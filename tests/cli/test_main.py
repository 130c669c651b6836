"""The commands as a whole: from words to exit code, help and printed options."""

import json
import subprocess
import sys

import pytest

from mpipgd.comm import mpi

from ..support import run


@pytest.mark.launcher
def test_softmax_on_digits_by_the_command_line(tmp_path):
    code, out, err = run(2, "--run", tmp_path / "run", "--workers", "8")
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["score"] >= 0.95
    assert "accuracy" in out and "\r" not in out
    code, out, err = run(3, "evaluate", tmp_path / "run", tmp_path / "run" / "data.h5")
    assert code == 0 and "test" in out
    assert err == ""


def test_diamonds_come_near_ordinary_least_squares(real, tmp_path, mpipgd):
    orders = {
        "cut": "Fair<Good<Very Good<Premium<Ideal",
        "color": "J<I<H<G<F<E<D",
        "clarity": "I1<SI2<SI1<VS2<VS1<VVS2<VVS1<IF",
    }
    words = [each for pair in orders.items() for each in ("--ordinal", "=".join(pair))]
    source, data = real / "diamonds.csv.gz", tmp_path / "diamonds.h5"
    words += ["--target", "price", "--seed", "1"]
    assert mpipgd("data", "import", source, data, *words)[0] == 0
    more = ["--lr", "0.05", "--schedule", "cosine", "--run", tmp_path / "run"]
    code, out, err = mpipgd(data, *more)
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["score"] >= 0.90


@pytest.mark.launcher
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_help_is_printed_once(words):
    code, out, err = run(3, *words)
    assert code == 0
    assert out.count("usage:" if "--help" in words else "0.1.0") == 1


def test_help_loads_neither_mpi_nor_numpy():
    program = (
        "import sys\nfrom mpipgd.__main__ import main\ntry: main(['train', '-h'])\n"
    )
    program += (
        "except SystemExit: print('LOADED', {'numpy', 'mpi4py'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "LOADED set()" in found.stdout


def test_printed_config_runs_again_as_it_is(tmp_path, mpipgd):
    code, text, err = mpipgd("wine", "--epochs", "2", "--print-config")
    assert code == 0
    (tmp_path / "c.toml").write_text(text)
    args = ["--config", tmp_path / "c.toml", "--workers", "2"]
    shas = []
    for number in range(2):
        home = tmp_path / str(number)
        more = args if number else ["wine", "--epochs", "2", "--workers", "2"]
        assert mpipgd(*more, "--run", home)[0] == 0
        shas.append(json.loads((home / "summary.json").read_text())["weights_sha256"])
    assert shas[0] == shas[1]


@pytest.mark.mpi
@pytest.mark.parametrize(
    "words, code, message",
    [
        (["irsi"], 2, "did you mean iris"),
        (["tain"], 2, "did you mean train"),
        (["compare", "digitz"], 2, "did you mean digits"),
        (["absent.h5"], 3, "absent.h5"),
        (["compare", "absent.h5"], 3, "absent.h5"),
        (["iris", "--loss", "squared"], 2, "squared"),
        (["iris", "--strategy", "average", "--n-sync", "100000"], 2, "--n-sync"),
        (["iris", "--x", "a", "--y", "b"], 3, "data.h5"),
        (["iris", "--trace", "absent/trace.json"], 2, "--trace"),
    ],
)
def test_what_is_refused_leaves_nothing(
    shared_tmp, mpipgd, words, code, message, monkeypatch
):
    world = mpi.world()
    monkeypatch.chdir(shared_tmp)
    found, out, err = mpipgd(*words)
    assert found == code
    assert world.rank or message in err
    world.Barrier()
    assert not list(shared_tmp.iterdir())


def test_a_folder_that_was_there_stays(tmp_path, mpipgd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    assert mpipgd("iris", "--loss", "squared", "--run", tmp_path / "run")[0] == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_run_that_fails_after_its_first_step_tells_how(tmp_path, mpipgd):
    words = "iris", "--lr", "1e300", "--epochs", 9, "--run", tmp_path / "run"
    assert mpipgd(*words)[0] == 4
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["exit"] == 4


@pytest.mark.parametrize("classes", ["0", "1"])
def test_less_than_two_classes_are_refused(tmp_path, mpipgd, classes):
    out = tmp_path / "d.h5"
    code, _, err = mpipgd("data", "make", "blobs", out, "--classes", classes)
    assert code == 2 and "expected at least 2" in err and not out.exists()
