"""Settings to compare: strategies with options of their own, and a grid over all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

from ...config.option import expect_used, flag, is_used, option_type, parse_flag
from ...config.options import TrainConfig
from ...errors import UsageError, expect, nearest

FIXED = {"data", "x", "y", "run", "picture", "quiet", "strategy", "seed"}
OBJECTIVE = {"model", "loss", "epsilon", "hidden", "activation", "penalty", "alpha"}
OBJECTIVE |= {"l1_ratio", "intercept", "standardize"}


class Change(NamedTuple):
    """An option that a setting changes: its name, its value, and its text."""

    name: str
    value: Any
    text: str  # "name=value"


def parse(
    strategies: str, grid: Sequence[str], base: dict[str, Any]
) -> dict[str, TrainConfig]:
    """Return label -> options; UsageError where a setting is not possible.

    `strategies`: "all", or settings STRATEGY[:key=value…] separated by commas; `grid`:
    texts "key=value,value…", of which every combination is tried with each setting;
    `base`: the options that all have in common, as a dict.
    """
    choices = next(
        field.metadata["choices"]
        for field in fields(TrainConfig)
        if field.name == "strategy"
    )
    texts = choices if strategies == "all" else strategies.split(",")
    axes = [_axis(text) for text in grid]
    settings: dict[str, TrainConfig] = {}
    for text, point in itertools.product(texts, itertools.product(*axes)):
        strategy, *words = text.split(":")
        expect("--strategies", strategy, choices)
        changes = [_parse_change(word, "--strategies") for word in words] + list(point)
        label = " ".join([strategy, *(change.text for change in changes)])
        if label in settings:
            raise UsageError(f"--strategies: {label} is there twice")
        options = {change.name: change.value for change in changes}
        settings[label] = _without_worker_scores(
            TrainConfig(**base | options | {"strategy": strategy})
        )
        for word in words:  # what the setting alone changes
            name = _parse_change(word, "--strategies").name
            expect_used(name, [settings[label]], f"--strategies {text}: ")
    for axis in axes:
        expect_used(axis[0].name, settings.values(), "--grid: ")
    return settings


def _without_worker_scores(options: TrainConfig) -> TrainConfig:
    """Return the options with --worker-scores only where workers have models."""
    option = next(field for field in fields(options) if field.name == "worker_scores")
    if is_used(option, options):
        return options
    return replace(options, worker_scores=False)


def _axis(text: str) -> list[Change]:
    """Return the values of one axis of the grid."""
    key, _, values = text.partition("=")
    return [_parse_change(f"{key}={value}", "--grid") for value in values.split(",")]


def _parse_change(text: str, where: str) -> Change:
    """Return an option "key=value"; UsageError if it is unknown or does not fit."""
    key, _, value = text.partition("=")
    name = key.replace("-", "_")
    options = {
        field.name: field for field in fields(TrainConfig) if field.name not in FIXED
    }
    if name not in options:
        raise UsageError(f"{where}: unknown option {key!r}" + nearest(name, options))
    if name in OBJECTIVE:
        raise UsageError(
            f"{where}: {key} changes what is minimised: give all {flag(name)}"
        )
    if option_type(options[name]).type is bool:
        expect(f"{where} {key}", value, ("true", "false"))
        return Change(name, value == "true", f"{name}={value}")
    return Change(name, parse_flag(options[name], value), f"{name}={value}")
