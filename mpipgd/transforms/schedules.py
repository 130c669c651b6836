"""Schedules: step -> learning rate, for one step number t = 0, 1, 2, … or an array."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import UsageError, expect


class ScheduleParams(NamedTuple):
    """What the schedules read; `every` and `total` are counted in steps."""

    lr: float
    power: float
    alpha: float
    drop: float
    every: float
    total: int


def constant(t, s):
    """Return lr."""
    return np.full_like(t, s.lr)


def invscaling(t, s):
    """Return lr / (t + 1)^power."""
    return s.lr / (t + 1) ** s.power


def optimal(t, s):
    """Return 1 / (alpha (t0 + t)), scikit-learn's rule, due to Léon Bottou.

    t0 = 1 / (alpha eta0) with eta0 = alpha^(-1/4) / max(1, loss'(-alpha^(-1/4), 1)).
    Every loss here falls at that point, so that the maximum is 1.
    """
    t0 = 1 / (s.alpha * s.alpha**-0.25)
    return 1 / (s.alpha * (t0 + t))


def step(t, s):
    """Return lr drop^⌊t / every⌋."""
    return s.lr * s.drop ** np.floor(t / s.every)


def cosine(t, s):
    """Return lr ½ (1 + cos(π t / total)), zero from the last step on."""
    return s.lr * 0.5 * (1 + np.cos(np.pi * np.minimum(t / s.total, 1)))


SCHEDULES = {
    "constant": constant,
    "invscaling": invscaling,
    "optimal": optimal,
    "step": step,
    "cosine": cosine,
}
SCALINGS = {
    "none": lambda workers: 1.0,
    "linear": lambda workers: float(workers),
    "sqrt": lambda workers: workers**0.5,
}


@dataclass(frozen=True)
class Schedule:
    """base(t) × gain(t): the gain goes linearly from `first` to `last` in `ramp` steps.

    An int gives a float; an array gives an array of the same bits.
    """

    base: Callable
    settings: ScheduleParams
    first: float = 1.0
    last: float = 1.0
    ramp: float = 0.0

    def __call__(self, t):
        steps = np.atleast_1d(np.asarray(t, dtype=np.float64))
        rates = self.base(steps, self.settings) * self._gain(steps)
        return rates if np.ndim(t) else float(rates[0])

    def _gain(self, t):
        if self.ramp == 0:
            return self.last
        return self.first + (self.last - self.first) * np.minimum(t / self.ramp, 1)


def make_schedule(
    name,
    *,
    lr,
    steps_per_epoch,
    epochs,
    power=0.25,
    alpha=1e-4,
    warmup=0.0,
    drop=0.1,
    every=30.0,
    scaling="none",
    workers=1,
):
    """Return the schedule `name` with its scaling and warm-up; UsageError on a misfit.

    The rate is multiplied by k = 1, W or √W (`scaling` none, linear, sqrt; W workers).
    `warmup` epochs, which may be a fraction, raise it from lr to k lr, a constant
    amount a step (Goyal et al. 2017, §2.2); without scaling, from lr divided by the
    steps of the warm-up to lr. `every` is counted in epochs.
    """
    expect("--schedule", name, SCHEDULES)
    expect("--lr-scaling", scaling, SCALINGS)
    if name == "optimal" and not alpha > 0:
        raise UsageError(f"--schedule optimal takes an --alpha above 0, not {alpha}")
    if name == "step" and not every > 0:
        raise UsageError(f"--schedule step takes a drop every > 0 epochs, not {every}")
    total = max(1, epochs * steps_per_epoch)
    settings = ScheduleParams(lr, power, alpha, drop, every * steps_per_epoch, total)
    ramp = float(warmup * steps_per_epoch) if warmup * steps_per_epoch >= 1 else 0.0
    first = 1 / ramp if scaling == "none" and ramp else 1.0
    gains = first, SCALINGS[scaling](workers), ramp
    return Schedule(SCHEDULES[name], settings, *gains)
