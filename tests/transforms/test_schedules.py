"""Schedules: formulas, scikit-learn's rule, warm-up, steps one by one or together."""

import math

import numpy as np
import pytest
from sklearn.linear_model import _sgd_fast

from mpipgd.errors import UsageError
from mpipgd.transforms.schedules import SCALINGS, SCHEDULES, make_schedule

SIZES = {"lr": 0.1, "steps_per_epoch": 7, "epochs": 9}


def schedule(name="constant", **options):
    return make_schedule(name, **(SIZES | options))


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_together_equal_steps_one_by_one(name, scaling):
    rate = schedule(name, scaling=scaling, workers=6, warmup=1.5, every=2)
    together = rate(np.arange(70))
    assert together.tolist() == [rate(t) for t in range(70)]
    assert isinstance(rate(3), float)


FORMULAS = {
    "constant": lambda t: 0.1,
    "invscaling": lambda t: 0.1 / (t + 1) ** 0.5,
    "step": lambda t: 0.1 * 0.3 ** (t // 14),
    "cosine": lambda t: 0.05 * (1 + math.cos(math.pi * t / 63)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    rate = schedule(name, power=0.5, drop=0.3, every=2)
    expected = [FORMULAS[name](t) for t in range(63)]
    np.testing.assert_allclose(rate(np.arange(63)), expected, atol=1e-15)


def test_cosine_ends_at_zero_and_stays_there():
    assert schedule("cosine")(np.array([63, 64, 99])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("alpha", [1e-5, 1e-3, 0.5])
@pytest.mark.parametrize("loss", ["Hinge", "SquaredHinge", "CyHalfBinomialLoss"])
def test_optimal_is_scikit_learns(loss, alpha):
    kinds = vars(_sgd_fast)
    falls = {"CyHalfBinomialLoss": lambda p, y: -y / (1 + math.exp(y * p))}
    slope = falls.get(loss) or kinds[loss](1.0).py_dloss
    typical = math.sqrt(1 / math.sqrt(alpha))
    first = typical / max(1.0, slope(-typical, 1.0))
    t = np.arange(1, 50)
    expected = 1 / (alpha * (1 / (first * alpha) + t - 1))
    np.testing.assert_allclose(schedule("optimal", alpha=alpha)(t - 1), expected)


@pytest.mark.parametrize("scaling, gain", [("linear", 16), ("sqrt", 4)])
def test_warm_up_climbs_from_lr_to_the_scaled_rate(scaling, gain):
    rate = schedule(scaling=scaling, workers=16, warmup=2)(np.arange(30))
    assert rate[0] == pytest.approx(0.1)
    np.testing.assert_allclose(np.diff(rate[:15]), 0.1 * (gain - 1) / 14)
    np.testing.assert_allclose(rate[14:], 0.1 * gain)


def test_warm_up_without_scaling_climbs_to_lr():
    rate = schedule(warmup=2, workers=16)(np.arange(30))
    assert rate[0] == pytest.approx(0.1 / 14)
    assert (np.diff(rate[:15]) > 0).all()
    np.testing.assert_allclose(rate[14:], 0.1)


def test_scaling_without_warm_up_is_in_force_at_once():
    assert schedule(scaling="linear", workers=4)(0) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("cosinus", {}, "cosinus: expected one of constant.*cosine"),
        (
            "constant",
            {"scaling": "square"},
            "--lr-scaling square: expected one of none",
        ),
        ("optimal", {"alpha": 0.0}, "--alpha above 0"),
        ("step", {"every": 0}, "every > 0"),
    ],
)
def test_misfits_are_refused(name, options, words):
    with pytest.raises(UsageError, match=words):
        schedule(name, **options)
