"""The commands as a whole: from words to exit code, help and printed options."""

import json
import os
import subprocess
import sys

import pytest

from mpipgd import __main__, cli
from mpipgd.comm import mpi
from mpipgd.errors import UsageError
from mpipgd.objectives.sweep import parse_sweep

from .. import support
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


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory):
    """A run whose folder has a space in its name."""
    run = tmp_path_factory.mktemp("runs") / "a b"
    assert __main__.main(["diabetes", "--no-picture", "--run", str(run)]) == 0
    return run


def test_bundled_names_are_data_everywhere(diabetes, tmp_path, mpipgd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = mpipgd("evaluate", diabetes, "diabetes")
    assert by_name[0] == 0
    assert by_name == mpipgd("evaluate", diabetes, diabetes / "data.h5")
    code, out, _ = mpipgd("data", "info", "iris")
    assert code == 0 and "120 train and 30 test rows" in out
    assert mpipgd("data", "check", "iris", "wine")[:2] == (0, "iris  ok\nwine  ok\n")
    code, _, err = mpipgd("evaluate", diabetes, "iris")
    assert code == 3 and err.startswith("mpipgd: iris has no feature")
    assert not list(tmp_path.iterdir())
    out = tmp_path / "out.h5"
    assert mpipgd("predict", diabetes, "diabetes", "-o", out)[0] == 0
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.programs
@pytest.mark.parametrize("on_path", [True, False])
def test_the_last_line_of_a_run_is_a_command_that_works(tmp_path, on_path):
    path = f"{support.BIN}:/usr/bin:/bin" if on_path else "/usr/bin:/bin"
    words = "diabetes", "--epochs", 2, "--run", tmp_path / "a b"
    code, out, err = run(None, *words, cwd=tmp_path, PATH=path)
    assert code == 0, err
    command = out.splitlines()[-1].split("try: ")[1]
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "test" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["diabetes", "--many", "lr=0.1,0.01", "alpha=1e-3,1e-4"],
        ["--many", "lr=0.1,0.01", "--many", "alpha=1e-3,1e-4", "diabetes"],
        ["--many", "lr=0.1,0.01,alpha=1e-3,1e-4", "diabetes"],
    ],
)
def test_settings_to_train_together_have_one_syntax(words):
    config = parsed(*words).config
    expected = [{"lr": lr, "alpha": a} for lr in (0.1, 0.01) for a in (1e-3, 1e-4)]
    assert parse_sweep(config.many) == expected
    assert config.data == "diabetes"


def test_a_grid_has_the_syntax_of_many():
    words = ["--grid", "lr=0.1,0.01", "--grid", "batch_size=8,16", "diabetes"]
    command = parsed("compare", "--strategies", "sync", *words)
    assert len(command.settings) == 4


def test_a_grid_without_values_is_refused():
    with pytest.raises(UsageError, match="--many 0.1: expected KEY=V1,V2"):
        parsed("--many", "0.1")


def parsed(*words):
    """Return the command that some words make."""
    command, args = cli.parse(words)
    return command(args)


@pytest.mark.parametrize(
    "line, expected",
    [
        ("mpipgd comp", {"compare"}),
        ("mpipgd train --strate", {"--strategy"}),
        ("mpipgd train --strategy e", {"elastic"}),
        ("mpipgd compare --gri", {"--grid"}),
        ("mpipgd digits --strat", {"--strategy", "--stratify"}),
        ("mpipgd --n-sy", {"--n-sync"}),
        ("mpipgd launch -n 2 -- train --n-sy", {"--n-sync"}),
        ("mpipgd compare dig", {"digits"}),
        ("mpipgd data make blo", {"blobs"}),
    ],
)
def test_a_shell_completes_words(line, expected, tmp_path):
    pytest.importorskip("argcomplete")
    words = tmp_path / "words"
    asks = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asks |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(words), "_ARGCOMPLETE_IFS": "\n"}
    command = [sys.executable, "-m", "mpipgd"]
    subprocess.run(command, env=os.environ | asks, timeout=60, check=True)
    assert set(words.read_text().split()) == expected


BASH = """
eval "$(register-python-argcomplete mpipgd)"
COMP_WORDS=(mpipgd digits --strategy ho) COMP_CWORD=3 COMP_TYPE=9
COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
_python_argcomplete mpipgd ho --strategy
echo "${COMPREPLY[@]}"
"""


@pytest.mark.programs
def test_bash_completes_words_after_the_line_in_the_readme():
    pytest.importorskip("argcomplete")
    path = f"{support.BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("hogwild", "")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--lr", "0.5"], "--resume takes no --lr: the run goes on as it began"),
        (["iris"], "--resume takes no DATA"),
        (["--momentum", "0.5"], "only --allow-changed-data, --allow-climb"),
    ],
)
def test_resuming_says_what_may_differ(diabetes, mpipgd, words, message):
    code, _, err = mpipgd("--resume", diabetes, *words)
    assert code == 2 and message in err and err.count("\n") == 1
