"""Transforms: gradient -> update, alone, for each replica by itself.

Gradients, updates and weights have shape (replicas, size). A transform works in the
memory of the gradient, which the caller gives away, and in its own state: a dict of
arrays (or, for a chain, a tuple of such) whose first axis is the replicas, or 0-d
where all share one value. So a checkpoint is a dump of `flatten(state)`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

BLOCK = 1024


class Transform(NamedTuple):
    """init(weights) -> state; update(gradient, state, weights) -> (update, state)."""

    init: Callable
    update: Callable


def _stateless(function):
    return Transform(lambda w: {}, lambda g, state, w: (function(g, w), state))


IDENTITY = _stateless(lambda g, w: g)


def chain(*transforms):
    """Return the transform that applies these in turn; identities fall out."""
    links = [each for each in transforms if each is not IDENTITY]
    if len(links) < 2:
        return links[0] if links else IDENTITY
    updates = [each.update for each in links]

    def init(weights):
        return tuple(each.init(weights) for each in links)

    def update(g, states, w):
        for apply, state in zip(updates, states):
            g, _ = apply(g, state, w)
        return g, states

    return Transform(init, update)


def flatten(state):
    """Return path -> array for a state, such as "0/velocity"."""
    if isinstance(state, dict):
        return dict(state)
    return {
        f"{place}/{path}": array
        for place, each in enumerate(state)
        for path, array in flatten(each).items()
    }


def scale(factor):
    """g <- factor g."""
    return _stateless(lambda g, w: np.multiply(g, factor, out=g))


def decay(alpha):
    """g <- g + alpha w, the gradient of ½ Σ alpha w²; None is the identity."""
    if alpha is None:
        return IDENTITY
    return _stateless(lambda g, w: np.add(g, alpha * w, out=g))


def clip_norm(c):
    """g <- g min(1, c / ‖g‖) for each replica (Pascanu et al. 2013); None: identity."""
    if c is None:
        return IDENTITY

    def clipped(g, w):
        for row in g:  # one at a time: its bits must not depend on its neighbours
            norm = float(np.sqrt(np.dot(row, row)))
            if not norm <= c:
                row *= c / norm
        return g

    return _stateless(clipped)


def clip_weights(c):
    """u <- clip(w + u, -c, c) - w, so that no weight leaves [-c, c]; None: identity.

    It comes last in a chain.
    """
    if c is None:
        return IDENTITY

    def clipped(u, w):
        upper, lower = c - w, -c - w
        # rounded outwards they would let w + u pass c by one bit
        upper = np.where(w + upper > c, np.nextafter(upper, -np.inf), upper)
        lower = np.where(w + lower < -c, np.nextafter(lower, np.inf), lower)
        return np.clip(u, lower, upper, out=u)

    return _stateless(clipped)


# A direction is (g, state, t, settings) -> (d, divisor); the weights move by -lr d.
# A gradient that stays as it is ends up as d = g / divisor.


class OptimizerParams(NamedTuple):
    """The constants of an optimizer, as PyTorch's; `momentum` is adam's beta1."""

    momentum: float
    beta2: float
    eps: float


def sgd(g, state, t, s):
    """d = g."""
    return g, 1.0


def momentum(g, state, t, s):
    """v <- momentum v + g; d = v, as in PyTorch."""
    v = state["velocity"]
    v *= s.momentum
    v += g
    return v, 1 - s.momentum


def nesterov(g, state, t, s):
    """v <- momentum v + g; d = g + momentum v (Sutskever et al. 2013, PyTorch)."""
    v, divisor = momentum(g, state, t, s)
    g += s.momentum * v
    return g, divisor


def adagrad(g, state, t, s):
    """v <- v + g²; d = g / (√v + eps) (Duchi et al. 2011)."""
    v = state["square"]
    v += g * g
    return _divide(g, np.sqrt(v), s.eps)


def rmsprop(g, state, t, s):
    """v <- beta2 v + (1 - beta2) g²; d = g / (√v + eps) (Tieleman & Hinton 2012)."""
    return _divide(g, np.sqrt(_mean_square(g, state, s)), s.eps)


def adam(g, state, t, s):
    """m, v <- means of g, g²; d = m̂ / (√v̂ + eps) (Kingma & Ba 2015, algorithm 1)."""
    root = np.sqrt(_mean_square(g, state, s))
    root /= (1 - s.beta2 ** (t + 1)) ** 0.5
    m = state["mean"]
    m *= s.momentum
    g *= 1 - s.momentum
    m += g
    np.divide(m, 1 - s.momentum ** (t + 1), out=g)
    return _divide(g, root, s.eps)


def _mean_square(g, state, s):
    v = state["square"]
    v *= s.beta2
    v += (1 - s.beta2) * g * g
    return v


def _divide(g, root, eps):
    root += eps
    g /= root
    return g, root


def optimizer(
    direction, slots, rate, *, momentum=0.9, beta2=0.0, eps=0.0, l1=None, factors=None
):
    """Return the transform u = -rate(t) d, for `direction` one of the functions above.

    `slots` names its state, one array like the weights each. `l1` (size,) is the
    strength of an l1 penalty, taken proximally: u is such that
    w + u = soft(w - rate d, rate l1 / divisor), with exact zeros; the divisor makes
    the point of rest the optimum of the penalised loss. `factors` (size,), where
    given, multiply the rate of each weight.
    """
    rates = _in_blocks(rate)
    settings = OptimizerParams(momentum, beta2, eps)

    def init(weights):
        t = np.zeros((), dtype=np.int64)
        return {"t": t} | {slot: np.zeros_like(weights) for slot in slots}

    def update(g, state, w):
        t = state["t"].item()
        lr = rates(t) if factors is None else rates(t) * factors
        d, divisor = direction(g, state, t, settings)
        u = np.multiply(d, -lr, out=g)
        if l1 is not None:
            _proximal(u, w, lr * l1 / divisor)
        state["t"][()] = t + 1
        return u, state

    return Transform(init, update)


OPTIMIZERS = {  # name -> (rate, *, momentum, beta2, eps, l1, factors) -> transform
    "sgd": partial(optimizer, sgd, ()),
    "momentum": partial(optimizer, momentum, ("velocity",)),
    "nesterov": partial(optimizer, nesterov, ("velocity",)),
    "adagrad": partial(optimizer, adagrad, ("square",), eps=1e-10),
    "rmsprop": partial(optimizer, rmsprop, ("square",), beta2=0.99, eps=1e-8),
    "adam": partial(optimizer, adam, ("mean", "square"), beta2=0.999, eps=1e-8),
}


def _proximal(u, w, threshold):
    """u <- soft(w + u, threshold) - w, in place: w + u is 0 exactly where it should."""
    u += w
    u -= np.clip(u, -threshold, threshold)
    u -= w


def _in_blocks(rate):
    """Return step -> rate as a float, computed for many steps at once."""
    first, block = 0, []

    def at(t):
        nonlocal first, block
        if not 0 <= t - first < len(block):
            first = t
            block = rate(np.arange(t, t + BLOCK)).tolist()
        return block[t - first]

    return at
