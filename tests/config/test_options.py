"""Options: flags and TOML agree; choices are the names in the registries."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpipgd import cli
from mpipgd.cli.train import TrainCommand
from mpipgd.comm.allreduce import REDUCTIONS
from mpipgd.config import toml
from mpipgd.config.option import check_value
from mpipgd.config.options import TrainConfig
from mpipgd.errors import UsageError
from mpipgd.objectives import MODELS, PENALTIES
from mpipgd.objectives.losses import LOSSES
from mpipgd.objectives.mlp import ACTIVATIONS
from mpipgd.plan.partition import PLANS
from mpipgd.stores.gossip import TOPOLOGIES
from mpipgd.stores.strategies import STRATEGIES
from mpipgd.transforms.optimizers import OPTIMIZERS
from mpipgd.transforms.schedules import SCALINGS, SCHEDULES

REGISTRIES = {
    "model": MODELS,
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "penalty": PENALTIES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "lr_scaling": SCALINGS,
    "strategy": STRATEGIES,
    "split": PLANS,
    "topology": TOPOLOGIES,
    "reduction": REDUCTIONS,
}


def parsed_config(*words):
    """Return the configuration that the words of `mpipgd train` give."""
    _, args = cli.parse(words)
    return TrainCommand(args).config


@pytest.mark.parametrize("name", REGISTRIES)
def test_choices_are_the_names_in_the_registry(name):
    choices = {field.name: field.metadata["choices"] for field in fields(TrainConfig)}
    names = set(choices[name]) - {"lbfgs"}  # a solver of its own, not a transform
    assert names == set(REGISTRIES[name])


def test_the_readme_says_what_each_strategy_does():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, recipe in STRATEGIES.items():
        lines = readme.splitlines()
        row = next(line for line in lines if line.startswith(f"| `{name}` |"))
        description = row.split("|")[2].replace("`", "").split()
        assert description == recipe.__doc__.split()


def test_text_of_options_gives_the_same_options():
    options = TrainConfig(
        data='a "b"\\c.h5', alpha=(1e-2, 1e-5), hidden=(9, 3), target=0.5, quiet=True
    )
    assert TrainConfig(**toml.from_text(toml.to_text(options), "here")) == options


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20))
def test_any_text_survives_toml(text):
    options = TrainConfig(data=text, run="r")
    assert toml.from_text(toml.to_text(options), "here")["data"] == text


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('lr = 1\nepochs = 7\nalpha = [0.1, 0.2]\nmodel = "mlp"\n')
    config = parsed_config("wine", "--config", str(path), "--epochs", "9")
    assert (config.data, config.lr, config.epochs) == ("wine", 1.0, 9)
    assert (config.alpha, config.patience) == ((0.1, 0.2), 5)


def test_every_option_has_a_flag():
    words = ["--no-standardize", "--model", "mlp", "--hidden", "8,4", "--quiet"]
    words += ["--lr-scaling", "sqrt", "--init-std", "1e-3,0.1", "--sync-every", "4"]
    config = parsed_config(*words, "--strategy", "average")
    assert (config.standardize, config.quiet) == (False, True)
    assert (config.hidden, config.init_std) == ((8, 4), (1e-3, 0.1))
    assert (config.lr_scaling, config.sync_every) == ("sqrt", 4)
    assert not parsed_config("--no-intercept").intercept


@pytest.mark.parametrize(
    "text, message",
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean epochs"),
        ("epochs = 3.5", "epochs = 3.5: expected a whole number"),
        ("quiet = 1", "quiet = 1: expected true or false"),
        ("lr = true", "lr = True: expected a number"),
        ("hidden = [3, 2.5]", "hidden = 2.5: expected a whole number"),
        ("lr = ", "not TOML"),
    ],
)
def test_bad_toml_is_refused_by_key(text, message):
    with pytest.raises(UsageError, match=message):
        toml.from_text(text, "c.toml")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"workers": 0}, "--workers 0: expected at least 1"),
        ({"l1_ratio": 1.5}, "--l1-ratio 1.5: expected at least 0 and at most 1"),
        ({"lr": float("nan")}, "--lr nan: expected at least 0"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"checkpoint_every": "5m"}, "--checkpoint-every 5m: expected epochs"),
    ],
)
def test_values_out_of_bounds_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--hidden", "4,x"], "--hidden 4,x: expected whole numbers, separated"),
        (["--alpha", "a"], "--alpha a: expected numbers, separated by commas"),
        (["--epochs", "x"], "--epochs x: expected a whole number$"),
    ],
)
def test_flags_that_are_no_numbers_say_what_is_expected(words, message):
    with pytest.raises(UsageError, match=message):
        parsed_config(*words)


@pytest.mark.parametrize(
    "words, needed",
    [
        ("--n-sync 5", "--strategy average"),
        ("--strategy average --sync-every 3 --n-sync 5", "no --sync-every"),
        ("--hidden 3", "--model mlp"),
        ("--model mlp --no-intercept", "--model linear"),
        ("--momentum 0.5", "--optimizer momentum|nesterov"),
        ("--power 0.5", "--schedule invscaling"),
        ("--drop 0.5 --schedule cosine", "--schedule step"),
        ("--outer-lr 0.5", "--strategy average"),
        ("--strategy average --outer-nesterov", "--outer-momentum other than 0"),
        ("--fraction 0.1", "--split sample"),
        ("--split replicate --memory-limit 2GB", "--split disjoint"),
        ("--optimizer lbfgs --lr 0.3", "--optimizer other than lbfgs"),
        ("--l1-ratio 0.3", "--penalty elasticnet"),
        ("--penalty none --alpha 0.1", "--penalty other than none, no alpha in --many"),
        ("--many lr=0.1,0.2 --lr 0.3", "no lr in --many"),
        ("--optimizer lbfgs --batch-size 8", "--optimizer other than lbfgs"),
        ("--strategy async --reduction mpi", "--strategy other than async"),
        ("--patience 3", "--tol"),
        ("--allow-changed-data", "--resume"),
        ("--epsilon 0.3", "--loss huber"),
        ("compare digits --strategies sync,oneshot --n-sync 5", "--strategy average"),
        ("compare digits --strategies sync:n_sync=5,average", "--strategy average"),
        ("compare digits --strategies sync --grid pull=0.1,0.2", "--strategy elastic"),
        ("scale digits --n-sync 5", "--strategy average"),
    ],
)
def test_a_flag_that_does_nothing_is_refused(words, needed, mpipgd):
    code, _, err = mpipgd(*words.split())
    assert code == 2
    assert "has no effect here: it needs" in err and needed in err


@pytest.mark.parametrize(
    "words",
    [
        "train --n-sync 10",  # as it is by default
        "train --strategy average --n-sync 5",
        "train --optimizer nesterov --momentum 0.5 --schedule step --drop 0.5",
        "train --penalty none --schedule optimal --alpha 0.1",
        "train --many lr=0.1,0.2 --alpha 0.1",
        "train --config stored.toml --resume run",
        "train --config stored.toml",
        "compare digits --strategies all --n-sync 5",
        "compare digits --strategies sync,elastic --grid pull=0.1,0.2",
    ],
)
def test_a_flag_that_some_setting_uses_is_taken(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unused = TrainConfig(n_sync=3, hidden=(2,), momentum=0.1, damping=True)
    (tmp_path / "stored.toml").write_text(toml.to_text(unused))
    command, args = cli.parse(words.split())
    command(args)


def test_what_an_option_applies_to_names_options_and_their_values():
    known = {field.name: field for field in fields(TrainConfig)}
    for option in known.values():
        for applies in option.metadata["applies"]:
            for name, wanted in applies.items():
                values = wanted if isinstance(wanted, tuple) else (wanted.value,)
                for value in values:
                    check_value(known[name], value)


@pytest.mark.parametrize(
    "words, needed",
    [
        ("digits --no-standardize-target", "regression; found classes, dense features"),
        ("compare digits --no-standardize-target --out {folder}/out", "regression"),
        ("{folder}/sparse.h5 --no-standardize", "dense features"),
        ("diabetes --class-weight balanced", "classes"),
        ("diabetes --stratify --validation 0.2", "classes"),
    ],
)
def test_a_flag_for_other_data_is_refused(words, needed, tmp_path, mpipgd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "sparse" in words:
        size = "--rows", 50, "--features", 9, "--density", 0.5
        assert mpipgd("data", "make", "regression", "sparse.h5", *size)[0] == 0
    before = list(tmp_path.iterdir())
    code, _, err = mpipgd(*words.format(folder=tmp_path).split())
    assert code == 2
    assert f"has no effect here: it needs {needed}" in err
    assert list(tmp_path.iterdir()) == before


def test_stratify_takes_rows_to_hold_out(tmp_path, mpipgd):
    code, _, err = mpipgd("iris", "--stratify", "--run", tmp_path / "run")
    assert code == 2 and "--stratify takes --validation" in err


def test_help_says_what_an_option_applies_to(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "the last one included (with --strategy average, no --sync-every)" in text


def test_abbreviated_flags_are_refused():
    with pytest.raises(UsageError, match="--epoch"):
        parsed_config("--epoch", "3")
