"""Optimizers, penalties and clipping, as transforms gradient -> update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from .base import IDENTITY, State, Transform, stateless

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from .schedules import LearningRate

RATES_AT_ONCE = 1024  # steps of a schedule that are computed in one call


def decay(l2_weights: FloatArray | None) -> Transform:
    """g <- g + α w, the gradient of ½ Σ α w² for α (size,); None: identity."""
    if l2_weights is None:
        return IDENTITY
    return stateless(lambda g, w: np.add(g, l2_weights * w, out=g))


def clip_norm(c: float | None) -> Transform:
    """g <- g min(1, c / ‖g‖) for each replica (Pascanu et al. 2013); None: identity."""
    if c is None:
        return IDENTITY

    def clipped(g: FloatArray, w: FloatArray) -> FloatArray:
        for row in g:  # one by one: the bits of a row must not depend on other rows
            norm = float(np.sqrt(np.dot(row, row)))
            if not norm <= c:
                row *= c / norm
        return g

    return stateless(clipped)


def clip_weights(c: float | None) -> Transform:
    """u <- clip(w + u, -c, c) - w, so that no weight leaves [-c, c]; None: identity.

    It must be the last of a chain.
    """
    if c is None:
        return IDENTITY

    def clipped(u: FloatArray, w: FloatArray) -> FloatArray:
        upper, lower = c - w, -c - w
        # round inwards, or w + u could exceed c by one bit
        upper = np.where(w + upper > c, np.nextafter(upper, -np.inf), upper)
        lower = np.where(w + lower < -c, np.nextafter(lower, np.inf), lower)
        return np.clip(u, lower, upper, out=u)

    return stateless(clipped)


class OptimizerParams(NamedTuple):
    """The constants of an optimizer, as PyTorch's; `momentum` is adam's beta1."""

    momentum: float
    beta2: float
    eps: float


class Direction(Protocol):
    """direction(g, state, t, params) -> (d, divisor); the update is -lr d.

    `t` counts updates from 0. Where the gradient is the same at every update, d tends
    to g / divisor.
    """

    def __call__(
        self, g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams, /
    ) -> tuple[FloatArray, float | FloatArray]: ...


def sgd(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, float]:
    """d = g."""
    return g, 1.0


def momentum(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, float]:
    """v <- momentum v + g; d = v, as in PyTorch."""
    v = state["velocity"]
    v *= s.momentum
    v += g
    return v, 1 - s.momentum


def nesterov(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, float]:
    """v <- momentum v + g; d = g + momentum v (Sutskever et al. 2013, PyTorch)."""
    v, divisor = momentum(g, state, t, s)
    g += s.momentum * v
    return g, divisor


def adagrad(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, FloatArray]:
    """v <- v + g²; d = g / (√v + eps) (Duchi et al. 2011)."""
    v = state["square"]
    v += g * g
    return _divide(g, np.sqrt(v), s.eps)


def rmsprop(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, FloatArray]:
    """v <- beta2 v + (1 - beta2) g²; d = g / (√v + eps) (Tieleman & Hinton 2012)."""
    return _divide(g, np.sqrt(_mean_square(g, state, s)), s.eps)


def adam(
    g: FloatArray, state: dict[str, FloatArray], t: int, s: OptimizerParams
) -> tuple[FloatArray, FloatArray]:
    """m, v <- means of g, g²; d = m̂ / (√v̂ + eps) (Kingma & Ba 2015, algorithm 1)."""
    root = np.sqrt(_mean_square(g, state, s))
    root /= (1 - s.beta2 ** (t + 1)) ** 0.5
    m = state["mean"]
    m *= s.momentum
    g *= 1 - s.momentum
    m += g
    np.divide(m, 1 - s.momentum ** (t + 1), out=g)
    return _divide(g, root, s.eps)


def _mean_square(
    g: FloatArray, state: dict[str, FloatArray], s: OptimizerParams
) -> FloatArray:
    v = state["square"]
    v *= s.beta2
    v += (1 - s.beta2) * g * g
    return v


def _divide(
    g: FloatArray, root: FloatArray, eps: float
) -> tuple[FloatArray, FloatArray]:
    root += eps
    g /= root
    return g, root


def optimizer(
    direction: Direction,
    slots: tuple[str, ...],
    rate: LearningRate,
    *,
    momentum: float = 0.9,
    beta2: float = 0.0,
    eps: float = 0.0,
    l1_weights: FloatArray | None = None,
    lr_factors: FloatArray | None = None,
    weight_decay: FloatArray | None = None,
) -> Transform:
    """Return the transform u = -rate(t) d, for `direction` one of the functions above.

    slots         names of its state, each an array of the shape of the weights
    l1_weights    (size,) strength of an l1 penalty, taken proximally: u is such that
                  w + u = soft(w - rate d, rate l1 / divisor), with exact zeros; with
                  the divisor the fixed point is the minimum of the penalised loss
    lr_factors    (size,) multiply the rate of each weight
    weight_decay  (size,) λ of a decay that is no part of the gradient, so that d does
                  not rescale it: u = -rate (d + λ w) (Loshchilov & Hutter 2019)
    """
    rate_at = _in_blocks(rate)
    params = OptimizerParams(momentum, beta2, eps)

    def init(weights: FloatArray) -> State:
        t = np.zeros((), dtype=np.int64)
        return {"t": t} | {slot: np.zeros_like(weights) for slot in slots}

    def update(g: FloatArray, state: State, w: FloatArray) -> tuple[FloatArray, State]:
        assert isinstance(state, dict)
        t = state["t"].item()
        lr = rate_at(t) if lr_factors is None else rate_at(t) * lr_factors
        d, divisor = direction(g, state, t, params)
        u = np.multiply(d, -lr, out=g)
        if weight_decay is not None:
            u -= lr * weight_decay * w
        if l1_weights is not None:
            _proximal(u, w, lr * l1_weights / divisor)
        state["t"][()] = t + 1
        return u, state

    return Transform(init, update)


class OptimizerFactory(Protocol):
    """An entry of `OPTIMIZERS`: `optimizer` with its direction, slots and constants."""

    def __call__(
        self,
        rate: LearningRate,
        *,
        momentum: float = 0.9,
        l1_weights: FloatArray | None = None,
        lr_factors: FloatArray | None = None,
        weight_decay: FloatArray | None = None,
    ) -> Transform: ...


# adamw is adam with the decay that `build_optimizer` passes it
OPTIMIZERS: dict[str, OptimizerFactory] = {
    "sgd": partial(optimizer, sgd, ()),
    "momentum": partial(optimizer, momentum, ("velocity",)),
    "nesterov": partial(optimizer, nesterov, ("velocity",)),
    "adagrad": partial(optimizer, adagrad, ("square",), eps=1e-10),
    "rmsprop": partial(optimizer, rmsprop, ("square",), beta2=0.99, eps=1e-8),
    "adam": partial(optimizer, adam, ("mean", "square"), beta2=0.999, eps=1e-8),
    "adamw": partial(optimizer, adam, ("mean", "square"), beta2=0.999, eps=1e-8),
}


def _proximal(u: FloatArray, w: FloatArray, threshold: FloatArray) -> None:
    """u <- soft(w + u, threshold) - w, in place, with exact zeros of w + u."""
    u += w
    u -= np.clip(u, -threshold, threshold)
    u -= w


def _in_blocks(rate: LearningRate) -> Callable[[int], float]:
    """Return step -> rate as a float, computed for many steps at once."""
    first, block = 0, list[float]()

    def rate_at(t: int) -> float:
        nonlocal first, block
        if not 0 <= t - first < len(block):
            first = t
            block = rate(np.arange(t, t + RATES_AT_ONCE)).tolist()
        return block[t - first]

    return rate_at
