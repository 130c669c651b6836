"""Sides in turn, medians of their ratios round by round, and one line for each."""

import json
import random
import statistics
import time
from dataclasses import dataclass, field

from mpipgd.reporting import tables


@dataclass
class Case:
    """One comparison: `sides` are name -> function that returns seconds.

    Each of `ours` is to be `least` times as fast as the side `base`; None: just look.
    """

    label: str
    sides: dict
    base: str
    ours: tuple
    least: float | None = None
    notes: dict = field(default_factory=dict)


def timed(function, *args):
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def interval(ratios, draws=2000, seed=0):
    """Return the 95 % bootstrap interval of the median of some ratios."""
    rng = random.Random(seed)
    medians = sorted(
        statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(draws)
    )
    return medians[round(0.025 * draws)], medians[round(0.975 * draws) - 1]


def run(case, rounds, barrier):
    """Yield a record for each of our sides; every side runs once before it counts."""
    seconds = {name: [] for name in case.sides}
    for turn in range(rounds + 1):
        for name, side in case.sides.items():
            barrier()
            spent = side()
            if turn:
                seconds[name].append(spent)
    for name in case.ours:
        ratios = [a / b for a, b in zip(seconds[case.base], seconds[name])]
        low, high = interval(ratios)
        yield {
            "work": case.label,
            "ours": name,
            "base": case.base,
            "seconds": statistics.median(seconds[name]),
            "base_seconds": statistics.median(seconds[case.base]),
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
            "least": case.least,
            "rounds": rounds,
            **case.notes,
        }


def table(records):
    """Return the lines of one table for all records."""
    rows = [("work", "ours", "against", "times", "95 %", "at least", "")]
    for each in records:
        least = each["least"]
        verdict = "" if least is None else "ok" if each["ratio"] >= least else "MISS"
        rows.append(
            (
                f"{each['work']} ({each['mpi']}, {each['ranks']})",
                f"{each['ours']} {clock(each['seconds'])}",
                f"{each['base']} {clock(each['base_seconds'])}",
                f"{each['ratio']:.2f}",
                f"{each['low']:.2f} … {each['high']:.2f}",
                "" if least is None else f"{least:g}",
                verdict,
            )
        )
    return tables.format_table(rows)


def clock(seconds):
    """Return seconds in the unit that reads best."""
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns"


def write(records, path):
    """Append records to a file of JSON lines."""
    with open(path, "a") as file:
        for each in records:
            file.write(json.dumps(each, ensure_ascii=False) + "\n")
