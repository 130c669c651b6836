"""What a study's runs say: medians, speed-up, efficiency, and how sure they are.

Speed-up and efficiency are against the fewest ranks p₀ of a setting, whose seconds are
given too (Hoefler & Belli 2015, rules 1 and 2):

strong    S(p) = T(p₀) / T(p),   E(p) = S(p) p₀ / p
weak      E(p) = T(p₀) / T(p),   S(p) = E(p) p / p₀

with T medians of seconds an epoch. Intervals are bootstrap percentiles (95 %) of those
medians. Where ranks outnumber cores there is no efficiency: they were not in parallel.
"""

import random
import statistics
from dataclasses import dataclass, field

from .runner import SHARES

DRAWS = 2000


@dataclass
class ScalingResult:
    """One setting on one number of ranks: medians over its repeats, and intervals."""

    mode: str
    label: str
    ranks: int
    runs: list
    seconds: float = 0.0  # an epoch
    between: tuple = ()  # of them
    speedup: float | None = None
    speedup_between: tuple | None = None
    efficiency: float | None = None
    efficiency_between: tuple | None = None
    epochs: float | None = None  # to the target
    shares: dict = field(default_factory=dict)
    predicted: float | None = None  # seconds an epoch

    @property
    def crowded(self):
        """Whether ranks outnumbered cores."""
        return any(run["crowded"] for run in self.runs)

    @property
    def times(self):
        """The seconds an epoch of each repeat."""
        return [run["epoch_seconds"] for run in self.runs]

    @property
    def to_target(self):
        """The seconds to the target: epochs × seconds an epoch."""
        return None if self.epochs is None else self.epochs * self.seconds

    @property
    def error(self):
        """How far the prediction is off, as a share of what was measured."""
        return self.predicted and self.predicted / self.seconds - 1


def rows(records):
    """Return the `Row`s of records, in their order; runs that failed are left out."""
    groups = {}
    for each in records:
        if each["status"] == "ok":
            key = each["mode"], each["label"], each["ranks"]
            groups.setdefault(key, []).append(each)
    found = [ScalingResult(*key, runs) for key, runs in groups.items()]
    for row in found:
        row.seconds = statistics.median(row.times)
        row.between = bootstrap(lambda t: statistics.median(t), row.times)
        total = sum(statistics.median(r[name] for r in row.runs) for name in SHARES)
        for name in SHARES:
            spent = statistics.median(r[name] for r in row.runs)
            row.shares[name] = spent / total if total else 0.0
    for row in found:
        same = [r for r in found if (r.mode, r.label) == (row.mode, row.label)]
        _relative_to(row, min(same, key=lambda r: r.ranks))
    _targets([row for row in found if row.mode == "strong"])
    return found


def _relative_to(row, base):
    """Fill in speed-up and efficiency against the fewest ranks."""
    if row.crowded:
        return
    more = row.ranks / base.ranks
    up, efficient = (1.0, 1 / more) if row.mode == "strong" else (more, 1.0)
    ratio = base.seconds / row.seconds
    between = (1.0, 1.0) if row is base else bootstrap(_ratio, base.times, row.times)
    row.speedup, row.efficiency = up * ratio, efficient * ratio
    row.speedup_between = tuple(up * each for each in between)
    row.efficiency_between = tuple(efficient * each for each in between)


def _ratio(base, times):
    return statistics.median(base) / statistics.median(times)


def bootstrap(statistic, *samples):
    """Return the 95 % percentile interval of a statistic of samples."""
    draw = random.Random(0)
    found = sorted(
        statistic(*(draw.choices(sample, k=len(sample)) for sample in samples))
        for _ in range(DRAWS)
    )
    return found[DRAWS // 40], found[-DRAWS // 40 - 1]


def _targets(found):
    """Fill in the epochs to the target: the worst of the last losses of all runs.

    So every run reaches it, and what it takes is a matter of statistics alone.
    """
    target = max((run["loss"] for row in found for run in row.runs), default=0.0)
    for row in found:
        row.epochs = statistics.median(_reached(r["curve"], target) for r in row.runs)


def _reached(curve, target):
    """Return the epoch at which a curve gets to the target, or ends beyond it."""
    before = None
    for epoch, _, loss in curve:
        if loss is not None and loss <= target:
            if before is None or before[1] <= target:
                return epoch
            share = (before[1] - target) / (before[1] - loss)
            return before[0] + share * (epoch - before[0])
        before = None if loss is None else (epoch, loss)
    return curve[-1][0]


def weight_equality_lines(found, records):
    """Return a line on the weights of each setting that had the same workers."""
    lines = []
    for label in dict.fromkeys(row.label for row in found):
        runs = [
            r for r in records
            if (r["status"], r["mode"], r["label"]) == ("ok", "strong", label)
        ]  # fmt: skip
        if len({r["workers"] for r in runs}) == 1 < len({r["ranks"] for r in runs}):
            seeds = {}
            for run in runs:
                seeds.setdefault(run["repeat"], set()).add(run["weights_sha256"])
            same = all(len(each) == 1 for each in seeds.values())
            verb = "are bit-identical" if same else "DIFFER"
            lines.append(f"{label}: weights {verb} on all numbers of ranks")
    return lines
