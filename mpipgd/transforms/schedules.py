"""Schedules: step -> learning rate, for one step number t = 0, 1, 2, … or an array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

import numpy as np

from ..errors import UsageError, expect

if TYPE_CHECKING:
    from ..array_types import FloatArray, IntArray


class LearningRate(Protocol):
    """rate(t) -> learning rate (float64) at the steps t (n,) int, counted from 0."""

    def __call__(self, t: IntArray, /) -> FloatArray: ...


class ScheduleParams(NamedTuple):
    """What the schedules read; `every` and `total` are counted in steps."""

    lr: float
    power: float
    alpha: float
    drop: float
    every: float
    total: int


def constant(t: FloatArray, s: ScheduleParams) -> FloatArray:
    """Return lr."""
    return np.full_like(t, s.lr)


def invscaling(t: FloatArray, s: ScheduleParams) -> FloatArray:
    """Return lr / (t + 1)^power."""
    return s.lr / (t + 1) ** s.power


def optimal(t: FloatArray, s: ScheduleParams) -> FloatArray:
    """Return 1 / (alpha (t0 + t)), scikit-learn's rule, due to Léon Bottou.

    t0 = 1 / (alpha eta0) with eta0 = alpha^(-1/4) / max(1, loss'(-alpha^(-1/4), 1)).
    The derivative of every loss here is negative at that point, so the maximum is 1.
    """
    t0 = 1 / (s.alpha * s.alpha**-0.25)
    return 1 / (s.alpha * (t0 + t))


def step(t: FloatArray, s: ScheduleParams) -> FloatArray:
    """Return lr drop^⌊t / every⌋."""
    return s.lr * s.drop ** np.floor(t / s.every)


def cosine(t: FloatArray, s: ScheduleParams) -> FloatArray:
    """Return lr ½ (1 + cos(π t / total)), zero from the last step on."""
    return s.lr * 0.5 * (1 + np.cos(np.pi * np.minimum(t / s.total, 1)))


SCHEDULES: dict[str, Callable[[FloatArray, ScheduleParams], FloatArray]] = {
    "constant": constant,
    "invscaling": invscaling,
    "optimal": optimal,
    "step": step,
    "cosine": cosine,
}
SCALINGS: dict[str, Callable[[int], float]] = {
    "none": lambda workers: 1.0,
    "linear": lambda workers: float(workers),
    "sqrt": lambda workers: workers**0.5,
}


@dataclass(frozen=True)
class Schedule:
    """base(t) × gain(t); the gain rises linearly from `first` to `last` in `ramp`.

    `ramp` is a number of steps.

    An int gives a float; an array gives an array of the same bits.
    """

    base: Callable[[FloatArray, ScheduleParams], FloatArray]
    params: ScheduleParams
    first: float = 1.0
    last: float = 1.0
    ramp: float = 0.0

    @overload
    def __call__(self, t: int) -> float: ...
    @overload
    def __call__(self, t: IntArray) -> FloatArray: ...
    def __call__(self, t: int | IntArray) -> float | FloatArray:
        steps = np.atleast_1d(np.asarray(t, dtype=np.float64))
        rates = self.base(steps, self.params) * self._gain(steps)
        return rates if np.ndim(t) else float(rates[0])

    def _gain(self, t: FloatArray) -> float | FloatArray:
        if self.ramp == 0:
            return self.last
        rise: FloatArray = np.minimum(t / self.ramp, 1)
        return self.first + (self.last - self.first) * rise


def make_schedule(
    name: str,
    *,
    lr: float,
    steps_per_epoch: int,
    epochs: int,
    power: float = 0.25,
    alpha: float = 1e-4,
    warmup: float = 0.0,
    drop: float = 0.1,
    every: float = 30.0,
    scaling: str = "none",
    workers: int = 1,
) -> Schedule:
    """Return the schedule `name` with its scaling and warm-up.

    The rate is multiplied by k = 1, W or √W (`scaling` none, linear, sqrt; W workers).
    `warmup` epochs, which may be a fraction, raise it from lr to k lr, a constant
    amount a step (Goyal et al. 2017, §2.2); without scaling, from lr divided by the
    steps of the warm-up to lr. `every` is counted in epochs. Raises UsageError for an
    unknown name, or where alpha or `every` do not fit the schedule.
    """
    expect("--schedule", name, SCHEDULES)
    expect("--lr-scaling", scaling, SCALINGS)
    if name == "optimal" and not alpha > 0:
        raise UsageError(f"--schedule optimal takes an --alpha above 0, not {alpha}")
    if name == "step" and not every > 0:
        raise UsageError(f"--schedule step takes a drop every > 0 epochs, not {every}")
    params = ScheduleParams(
        lr=lr,
        power=power,
        alpha=alpha,
        drop=drop,
        every=every * steps_per_epoch,
        total=max(1, epochs * steps_per_epoch),
    )
    ramp = float(warmup * steps_per_epoch) if warmup * steps_per_epoch >= 1 else 0.0
    return Schedule(
        SCHEDULES[name],
        params,
        first=1 / ramp if scaling == "none" and ramp else 1.0,
        last=SCALINGS[scaling](workers),
        ramp=ramp,
    )
