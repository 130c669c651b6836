"""Options: flags, TOML and text say the same; the tables they name are the tables."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpipgd import cli
from mpipgd.comm.allreduce import REDUCTIONS
from mpipgd.config import toml
from mpipgd.config.options import TrainConfig, fields
from mpipgd.errors import UsageError
from mpipgd.objectives import MODELS, PENALTIES
from mpipgd.objectives.losses import LOSSES
from mpipgd.objectives.mlp import ACTIVATIONS
from mpipgd.plan.partition import PLANS
from mpipgd.stores.gossip import TOPOLOGIES
from mpipgd.stores.strategies import STRATEGIES
from mpipgd.transforms.optimizers import OPTIMIZERS
from mpipgd.transforms.schedules import SCALINGS, SCHEDULES

TABLES = {
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


def given_options(*words):
    """Return the options that a command line gives."""
    module, args = cli.parse(words)
    module.check(args)
    return args.train


@pytest.mark.parametrize("name", TABLES)
def test_choices_are_the_names_in_the_table(name):
    known = {each.name: each.metadata["choices"] for each in fields(TrainConfig)}
    assert set(known[name]) - {"lbfgs"} == set(TABLES[name])  # that is no transform


def test_the_readme_says_what_each_strategy_does():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, recipe in STRATEGIES.items():
        row = next(r for r in readme.splitlines() if r.startswith(f"| `{name}` |"))
        said = row.split("|")[2].replace("`", "").split()
        assert said == recipe.__doc__.split()


def test_text_of_options_gives_the_same_options():
    options = TrainConfig(
        data='a "b"\\c.h5', alpha=(1e-2, 1e-5), hidden=(9, 3), target=0.5, quiet=True
    )
    assert TrainConfig(**toml.from_text(toml.to_text(options), "here")) == options


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20))
def test_any_text_survives_toml(text):
    options = TrainConfig(data=text, run="r")
    assert toml.from_text(toml.to_text(options), "here")["data"] == text


def test_flags_come_before_the_file_and_the_file_before_defaults(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('lr = 1\nepochs = 7\nalpha = [0.1, 0.2]\nmodel = "mlp"\n')
    found = given_options("wine", "--config", str(path), "--epochs", "9")
    assert (found.data, found.lr, found.epochs, found.alpha, found.patience) == (
        "wine",
        1.0,
        9,
        (0.1, 0.2),
        5,
    )


def test_every_option_has_a_flag():
    words = ["--no-standardize", "--no-intercept", "--hidden", "8,4", "--quiet"]
    words += ["--lr-scaling", "sqrt", "--init-std", "1e-3,0.1", "--sync-every", "4"]
    found = given_options(*words)
    assert (found.standardize, found.intercept, found.quiet) == (False, False, True)
    assert (found.hidden, found.init_std, found.sync_every) == ((8, 4), (1e-3, 0.1), 4)


@pytest.mark.parametrize(
    "text, words",
    [
        ("epoch = 3", "unknown key 'epoch'; did you mean epochs"),
        ("epochs = 3.5", "epochs = 3.5: expected a whole number"),
        ("quiet = 1", "quiet = 1: expected true or false"),
        ("lr = true", "lr = True: expected a number"),
        ("hidden = [3, 2.5]", "hidden = 2.5: expected a whole number"),
        ("lr = ", "not TOML"),
    ],
)
def test_bad_toml_is_refused_by_key(text, words):
    with pytest.raises(UsageError, match=words):
        toml.from_text(text, "c.toml")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"workers": 0}, "--workers 0: expected at least 1"),
        ({"l1_ratio": 1.5}, "--l1-ratio 1.5: expected at least 0 and at most 1"),
        ({"lr": float("nan")}, "--lr nan: expected at least 0"),
        ({"optimizer": "adamm"}, "did you mean adam"),
        ({"checkpoint_every": "5m"}, "--checkpoint-every 5m: expected epochs"),
    ],
)
def test_values_out_of_bounds_are_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        TrainConfig(**changes)


def test_abbreviated_flags_are_not_taken_for_others():
    with pytest.raises(UsageError, match="--epoch"):
        given_options("--epoch", "3")
