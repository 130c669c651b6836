"""What follows from a study's runs: medians, speed-up, efficiency, with intervals.

Speed-up and efficiency are against the fewest ranks p₀ of a setting, whose seconds are
given too (Hoefler & Belli 2015, rules 1 and 2):

strong    S(p) = T(p₀) / T(p),   E(p) = S(p) p₀ / p
weak      E(p) = T(p₀) / T(p),   S(p) = E(p) p / p₀

with T medians of seconds an epoch. Intervals are bootstrap percentiles (95 %) of those
medians. Where ranks outnumber cores there is no efficiency: they were not in parallel.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ...reporting.timing import TIME_KINDS
from .runner import Run

DRAWS = 2000
# Of shorter epochs the calls between steps take a share that no step or exchange has,
# and that varies more than the machine scales.
LEAST_EPOCH_SECONDS = 0.02

Interval: TypeAlias = tuple[float, float]  # (low, high)
CurvePoint: TypeAlias = tuple[float, float, float | None]  # epoch, seconds, loss


@dataclass(frozen=True)
class ScalingResult:
    """One setting on one number of ranks: medians over its repeats, and intervals.

    `seconds` and `predicted` are of an epoch, `interval` is that of `seconds`, `epochs`
    those to the target, `shares` the shares of compute, exchange, wait and read.
    """

    mode: str
    label: str
    ranks: int
    runs: list[Run]
    seconds: float
    interval: Interval
    shares: dict[str, float]
    speedup: float | None = None
    speedup_interval: Interval | None = None
    efficiency: float | None = None
    efficiency_interval: Interval | None = None
    epochs: float | None = None
    predicted: float | None = None

    @property
    def crowded(self) -> bool:
        """Whether ranks outnumbered cores."""
        return any(run["crowded"] for run in self.runs)

    @property
    def times(self) -> list[float]:
        """The seconds an epoch of each repeat."""
        return _times(self.runs)

    @property
    def seconds_to_target(self) -> float | None:
        """The seconds to the target: epochs × seconds an epoch."""
        return None if self.epochs is None else self.epochs * self.seconds

    @property
    def error(self) -> float | None:
        """The relative error of the prediction."""
        return self.predicted and self.predicted / self.seconds - 1


def summarize(runs: Sequence[Run]) -> list[ScalingResult]:
    """Return the results of runs, in their order; runs that failed are left out."""
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        if run["status"] == "ok":
            key = run["mode"], run["label"], run["ranks"]
            groups.setdefault(key, []).append(run)
    results = [_medians(*key, group) for key, group in groups.items()]
    results = [_relative_to(result, _base(result, results)) for result in results]
    return _with_epochs_to_target(results)


def _times(runs: Sequence[Run]) -> list[float]:
    return [run["epoch_seconds"] for run in runs]


def _medians(mode: str, label: str, ranks: int, runs: list[Run]) -> ScalingResult:
    times = _times(runs)
    seconds = {
        kind: statistics.median(run[kind] for run in runs) for kind in TIME_KINDS
    }
    total = sum(seconds.values())
    return ScalingResult(
        mode,
        label,
        ranks,
        runs,
        seconds=statistics.median(times),
        interval=bootstrap(statistics.median, times),
        shares={k: spent / total if total else 0.0 for k, spent in seconds.items()},
    )


def _base(result: ScalingResult, results: Sequence[ScalingResult]) -> ScalingResult:
    """Return the result of the same setting and mode on the fewest ranks."""
    setting = result.mode, result.label
    same = (other for other in results if (other.mode, other.label) == setting)
    return min(same, key=lambda other: other.ranks)


def _relative_to(result: ScalingResult, base: ScalingResult) -> ScalingResult:
    """Return the result with speed-up and efficiency against a base."""
    if result.crowded:
        return result
    growth = result.ranks / base.ranks
    # factors from the ratio of the seconds to speed-up and efficiency
    up, efficient = (1.0, 1 / growth) if result.mode == "strong" else (growth, 1.0)
    ratio = base.seconds / result.seconds
    low, high = (
        (1.0, 1.0)
        if result is base
        else bootstrap(_median_ratio, base.times, result.times)
    )
    return replace(
        result,
        speedup=up * ratio,
        speedup_interval=(up * low, up * high),
        efficiency=efficient * ratio,
        efficiency_interval=(efficient * low, efficient * high),
    )


def _median_ratio(base: Sequence[float], times: Sequence[float]) -> float:
    return statistics.median(base) / statistics.median(times)


def bootstrap(statistic: Callable[..., float], *samples: Sequence[float]) -> Interval:
    """Return the 95 % percentile interval of a statistic of samples."""
    draw = random.Random(0)
    values = sorted(
        statistic(*(draw.choices(sample, k=len(sample)) for sample in samples))
        for _ in range(DRAWS)
    )
    return values[DRAWS // 40], values[-DRAWS // 40 - 1]


def _with_epochs_to_target(results: Sequence[ScalingResult]) -> list[ScalingResult]:
    """Return the results with the epochs to the target, in strong mode.

    The target is the worst of the last losses of all runs. So every run reaches it,
    and how many epochs it takes does not depend on the hardware.
    """
    strong = [result for result in results if result.mode == "strong"]
    target = max((run["loss"] for result in strong for run in result.runs), default=0.0)
    return [
        replace(
            result,
            epochs=statistics.median(
                epoch_reached(run["curve"], target) for run in result.runs
            ),
        )
        if result.mode == "strong"
        else result
        for result in results
    ]


def epoch_reached(curve: Sequence[CurvePoint], target: float) -> float:
    """Return the epoch at which a curve reaches the target, or at which it ends.

    Between two evaluations the loss is interpolated linearly.
    """
    before = None
    for epoch, _, loss in curve:
        if loss is not None and loss <= target:
            if before is None or before[1] <= target:
                return epoch
            share = (before[1] - target) / (before[1] - loss)
            return before[0] + share * (epoch - before[0])
        before = None if loss is None else (epoch, loss)
    return curve[-1][0]


def too_small(results: Sequence[ScalingResult]) -> dict[tuple[str, str], float]:
    """Return (mode, label) -> seconds of the shortest epoch, where it is too short.

    A setting whose epoch is shorter than LEAST_EPOCH_SECONDS on some number of ranks
    is too little work to say how it scales, or to predict it, on any.
    """
    shortest: dict[tuple[str, str], float] = {}
    for result in results:
        key = result.mode, result.label
        shortest[key] = min(result.seconds, shortest.get(key, result.seconds))
    return {k: s for k, s in shortest.items() if s < LEAST_EPOCH_SECONDS}


def too_small_lines(results: Sequence[ScalingResult]) -> list[str]:
    """Return a line for each setting that is too little work."""
    return [
        f"{mode} {label}: an epoch takes {1e3 * seconds:.3g} ms, too little work to "
        "say how it scales, or to predict it: below "
        f"{1e3 * LEAST_EPOCH_SECONDS:g} ms fixed costs count. Take more rows or a "
        "larger model."
        for (mode, label), seconds in too_small(results).items()
    ]


def weight_equality_lines(
    results: Sequence[ScalingResult], runs: Sequence[Run]
) -> list[str]:
    """Return a line on the weights of each setting that had the same workers."""
    lines = []
    for label in dict.fromkeys(result.label for result in results):
        same_setting = [
            run for run in runs
            if (run["status"], run["mode"], run["label"]) == ("ok", "strong", label)
        ]  # fmt: skip
        workers = {run["workers"] for run in same_setting}
        ranks = {run["ranks"] for run in same_setting}
        if len(workers) == 1 < len(ranks):
            hashes: dict[int, set[str]] = {}
            for run in same_setting:
                hashes.setdefault(run["repeat"], set()).add(run["weights_sha256"])
            equal = all(len(different) == 1 for different in hashes.values())
            verb = "are bit-identical" if equal else "DIFFER"
            lines.append(f"{label}: weights {verb} on all numbers of ranks")
    return lines
