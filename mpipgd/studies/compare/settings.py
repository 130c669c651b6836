"""Settings to compare: strategies with options of their own, and a grid over all."""

import itertools
from dataclasses import fields

from ...config.option import option_type, parse_flag
from ...config.options import TrainConfig
from ...errors import UsageError, expect, nearest

FIXED = {"data", "x", "y", "run", "picture", "quiet", "strategy", "seed"}
OBJECTIVE = {"model", "loss", "epsilon", "hidden", "activation", "penalty", "alpha"}
OBJECTIVE |= {"l1_ratio", "intercept", "standardize"}


def parse(strategies, grid, base):
    """Return label -> options.Train; UsageError where a setting cannot be.

    `strategies`: "all", or settings STRATEGY[:key=value…] separated by commas; `grid`:
    texts "key=value,value…", of which every combination is tried with each setting;
    `base`: the options that all have in common, as a dict.
    """
    known = next(
        f.metadata["choices"] for f in fields(TrainConfig) if f.name == "strategy"
    )
    texts = known if strategies == "all" else strategies.split(",")
    axes = [[pair(f"{key}={value}", "--grid") for value in values] for key, values in
            map(_axis, grid)]  # fmt: skip
    found = {}
    for text, point in itertools.product(texts, itertools.product(*axes)):
        name, *words = text.split(":")
        expect("--strategies", name, known)
        pairs = [pair(word, "--strategies") for word in words] + list(point)
        label = " ".join([name, *(shown for _, _, shown in pairs)])
        if label in found:
            raise UsageError(f"--strategies: {label} is there twice")
        changes = {key: value for key, value, _ in pairs}
        found[label] = TrainConfig(**base | changes | {"strategy": name})
    return found


def _axis(text):
    key, _, values = text.partition("=")
    return key, values.split(",")


def pair(text, where):
    """Return name, value and text of an option "key=value"; UsageError if unknown."""
    key, _, value = text.partition("=")
    name = key.replace("-", "_")
    known = {each.name: each for each in fields(TrainConfig) if each.name not in FIXED}
    if name not in known:
        raise UsageError(f"{where}: unknown option {key!r}" + nearest(name, known))
    if name in OBJECTIVE:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{where}: {key} changes what is minimised: give all {flag}")
    if option_type(known[name]).type is bool:
        expect(f"{where} {key}", value, ("true", "false"))
        return name, value == "true", f"{name}={value}"
    return name, parse_flag(known[name], value), f"{name}={value}"
