"""Objectives: which gradient. They know no MPI and no optimizer."""

import numpy as np

from ..errors import UsageError, expect
from .linear import Linear
from .losses import LOSSES
from .mlp import ACTIVATIONS, MLP
from .sweep import build_sweep

DEFAULT_LOSS = {"regression": "squared", "binary": "log", "multiclass": "softmax"}
PENALTIES = {  # name -> (share of l2, share of l1) of alpha, given l1_ratio
    "none": lambda ratio: (0.0, 0.0),
    "l2": lambda ratio: (1.0, 0.0),
    "l1": lambda ratio: (0.0, 1.0),
    "elasticnet": lambda ratio: (1.0 - ratio, ratio),
}


def build_linear(options, header):
    """Return the linear objective that `options` ask for on data with this `header`."""
    loss = options.loss or DEFAULT_LOSS[header.task]
    expect("--loss", loss, LOSSES)
    _fit_task(loss, header)
    if len(options.alpha) != 1:
        found = len(options.alpha)
        raise UsageError(f"--alpha holds {found} values; a linear model takes one")
    softmax = loss == "softmax"
    l2, l1 = PENALTIES[options.penalty](options.l1_ratio)
    return Linear(
        header.n_features,
        len(header.classes) if softmax else 1,
        loss=loss,
        l2=options.alpha[0] * l2,
        l1=options.alpha[0] * l1,
        intercept=options.intercept,
        epsilon=options.epsilon,
        dtype=np.dtype(options.dtype or "float64"),
        compiled=options.kernels != "numpy",
    )


def build_mlp(options, header):
    """Return the network that `options` ask for."""
    regression = header.task == "regression"
    loss = options.loss or ("squared" if regression else "softmax")
    expect("--loss", loss, ("softmax", "squared"))
    expect("--activation", options.activation, ACTIVATIONS)
    if regression and loss == "softmax":
        raise UsageError("--loss softmax takes classes; the task is regression")
    if header.sparse:
        raise UsageError("--model mlp takes dense features; the data is sparse")
    if options.penalty not in ("none", "l2"):
        raise UsageError(f"--penalty {options.penalty} takes --model linear, not mlp")
    if options.kernels == "numba":
        raise UsageError("--kernels numba takes --model linear, not mlp")
    return MLP(
        header.n_features,
        options.hidden,
        1 if regression else len(header.classes),
        activation=options.activation,
        loss=loss,
        alpha=(0.0,) if options.penalty == "none" else tuple(options.alpha),
        dtype=options.dtype or "float32",
        init_std=options.init_std,
    )


MODELS = {"linear": build_linear, "mlp": build_mlp}


def build_objective(options, header):
    """Return the objective for data with this header; UsageError where they misfit."""
    expect("--model", options.model, MODELS)
    expect("--penalty", options.penalty, PENALTIES)
    if options.many:
        return build_sweep(options, header, build_linear)
    return MODELS[options.model](options, header)


def _fit_task(loss, header):
    """Raise UsageError where the loss is for another task than the data's."""
    task, wanted = header.task, LOSSES[loss].task
    if task == wanted or (wanted == "multiclass" and task == "binary"):
        return
    takes = {"regression": "regression", "binary": "two classes"}
    classes = len(header.classes or ())
    found = "is for regression" if task == "regression" else f"has {classes}"
    raise UsageError(
        f"--loss {loss} takes {takes.get(wanted, 'classes')}; the data {found}"
        f"{'' if task == 'regression' or wanted == 'binary' else ' classes'}"
        f": use {DEFAULT_LOSS[task]}"
    )
