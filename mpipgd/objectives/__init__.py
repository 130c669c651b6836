"""Objectives: losses of models over rows, and their gradients.

`MODELS` names the models, and `build_objective` makes the one that the options ask for.
What an objective offers is described in `base`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, expect
from .linear import Linear
from .losses import LOSS_IDS, LOSSES
from .mlp import ACTIVATIONS, MLP
from .multi_output import MultiOutputLinear
from .sweep import LinearSweep, parse_sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config.options import TrainConfig
    from ..data.hdf5.header import Header
    from .base import Objective

__all__ = [
    "ACTIVATIONS",
    "DEFAULT_LOSS",
    "LOSSES",
    "MODELS",
    "PENALTIES",
    "build_objective",
]

DEFAULT_LOSS = {"regression": "squared", "binary": "log", "multiclass": "softmax"}
PENALTIES: dict[str, Callable[[float], tuple[float, float]]] = {
    # name -> fractions of alpha for l2 and l1, given l1_ratio
    "none": lambda ratio: (0.0, 0.0),
    "l2": lambda ratio: (1.0, 0.0),
    "l1": lambda ratio: (0.0, 1.0),
    "elasticnet": lambda ratio: (1.0 - ratio, ratio),
}


def build_linear_model(
    options: TrainConfig, header: Header
) -> Linear | MultiOutputLinear:
    """Return the linear objective that `options` ask for on data with this `header`."""
    if header.targets is None:
        return build_linear(options, header)
    if options.kernels == "numba":
        raise UsageError("--kernels numba takes one target; the data has several")
    one = build_linear(options, header)
    return MultiOutputLinear(
        header.n_features,
        len(header.targets),
        loss=one.loss,
        l2=one.l2,
        l1=one.l1,
        intercept=one.intercept,
        epsilon=one.epsilon,
        dtype=one.dtype,
    )


def build_linear(options: TrainConfig, header: Header) -> Linear:
    """Return the linear objective of one target, or of classes."""
    loss = options.loss or DEFAULT_LOSS[header.task]
    expect("--loss", loss, LOSSES)
    _expect_loss_for_task(loss, header)
    if len(options.alpha) != 1:
        n = len(options.alpha)
        raise UsageError(f"--alpha holds {n} values; a linear model takes one")
    if options.kernels == "numba" and loss not in LOSS_IDS:
        raise UsageError(f"--kernels numba: the loss {loss} has no compiled kernel")
    l2, l1 = PENALTIES[options.penalty](options.l1_ratio)
    return Linear(
        header.n_features,
        len(header.classes or ()) if loss == "softmax" else 1,
        loss=loss,
        l2=options.alpha[0] * l2,
        l1=options.alpha[0] * l1,
        intercept=options.intercept,
        epsilon=options.epsilon,
        dtype=np.dtype(options.dtype or "float64"),
        compiled=options.kernels != "numpy" and loss in LOSS_IDS,
    )


def build_mlp(options: TrainConfig, header: Header) -> MLP:
    """Return the network that `options` ask for on data with this `header`."""
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
        len(header.targets or (1,)) if regression else header.n_classes,
        regression=regression,
        activation=options.activation,
        loss=loss,
        alpha=(0.0,) if options.penalty == "none" else tuple(options.alpha),
        dtype=options.dtype or "float32",
        init_std=options.init_std,
    )


def build_sweep(options: TrainConfig, header: Header) -> LinearSweep:
    """Return the objective of all configurations in `options.many`."""
    expect("--model", options.model, ("linear",))
    if header.targets is not None:
        raise UsageError("--many takes one target; the data has several")
    configs = parse_sweep(options.many or "")
    if any("alpha" in config for config in configs) and options.schedule == "optimal":
        raise UsageError("--many alpha: the schedule optimal depends on --alpha")
    models = []
    for config in configs:
        changes: dict[str, Any] = {k: v for k, v in config.items() if k != "lr"}
        if "alpha" in changes:
            changes["alpha"] = (changes["alpha"],)
        models.append(build_linear(dataclasses.replace(options, **changes), header))
    if models[0].loss == "softmax":
        raise UsageError("--many takes losses of one output, found softmax")
    if models[0].loss not in LOSS_IDS:
        raise UsageError(f"--many: the loss {models[0].loss} has no compiled kernel")
    return LinearSweep(models, configs)


MODELS: dict[str, Callable[[TrainConfig, Header], Objective]] = {
    "linear": build_linear_model,
    "mlp": build_mlp,
}


def build_objective(options: TrainConfig, header: Header) -> Objective:
    """Return the objective for data with this header; UsageError where they misfit."""
    expect("--model", options.model, MODELS)
    expect("--penalty", options.penalty, PENALTIES)
    if options.many:
        return build_sweep(options, header)
    return MODELS[options.model](options, header)


def _expect_loss_for_task(loss: str, header: Header) -> None:
    """Raise UsageError where the loss is for another task than the data's."""
    task, required = header.task, LOSSES[loss].task
    if task == required or (required == "multiclass" and task == "binary"):
        return
    takes = {"regression": "regression", "binary": "two classes"}
    n_classes = len(header.classes or ())
    description = "is for regression" if task == "regression" else f"has {n_classes}"
    raise UsageError(
        f"--loss {loss} takes {takes.get(required, 'classes')}; the data {description}"
        f"{'' if task == 'regression' or required == 'binary' else ' classes'}"
        f": use {DEFAULT_LOSS[task]}"
    )
