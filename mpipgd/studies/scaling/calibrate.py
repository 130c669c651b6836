"""Measure a study's steps and exchanges separately.

The speed of a machine changes from minute to minute. So these measurements alternate
with the runs, one for each repeat, and their medians count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ...cluster import launcher
from ...comm import environment
from ...config import toml
from ...config.options import TrainConfig
from ...errors import MpipgdError
from .cost_model import CostModel, fit_line
from .network import Network
from .study import Study

Measurement: TypeAlias = dict[str, Any]  # of a step or of an exchange
Measurements: TypeAlias = dict[str, Any]  # "steps" and "exchanges", and facts

SIZES = (1, 100, 1_000, 10_000, 100_000, 1_000_000)  # doubles
RANKS_TRIED = (1, 4, 16, 64)  # whose share of the rows is tried besides the study's
BATCHES = (1, 8, 64, 512)  # batch sizes that are tried besides the study's
STEP = ("label", "share", "batch", "how")
STEPS = (*STEP, "ranks")
EXCHANGE = ("ranks", "nodes", "size", "dtype", "compiled", "apart")


def calibrate(study: Study, folder: Path, turn: int) -> None:
    """Measure once into the folder, unless that turn is there already."""
    path = Path(folder, "calibration", f"{turn}.json")
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    measured = _measure(folder, 1, {"steps": _wanted_steps(study)})
    cases = _exchange_cases(measured["steps"])
    for ranks in _rank_counts(study):
        wanted = {"exchanges": cases, "steps": _wanted_steps(study, ranks)}
        on_ranks = _measure(folder, ranks, wanted)
        measured = {key: measured[key] + on_ranks[key] for key in measured}
    path.write_text(json.dumps(measured, indent=1) + "\n")


def read(folder: Path) -> Measurements | None:
    """Return the medians over all turns; None if nothing was measured."""
    turns = [
        json.loads(path.read_text())
        for path in sorted(Path(folder, "calibration").glob("*.json"))
    ]
    if not turns:
        return None
    medians: Measurements = {"per_node": _per_node(turns[0]), "turns": len(turns)}
    for name, keys in (("steps", STEPS), ("exchanges", EXCHANGE)):
        groups: dict[tuple[Any, ...], list[Measurement]] = {}
        for turn in turns:
            for measurement in turn[name]:
                key = tuple(measurement[key] for key in keys)
                groups.setdefault(key, []).append(measurement)
        medians[name] = [_median(group) for group in groups.values()]
    return medians


def _median(group: Sequence[Measurement]) -> Measurement:
    """Return the first measurement of a group, with the medians of all."""
    median = group[0] | {"seconds": statistics.median(m["seconds"] for m in group)}
    if "waits" in median:
        median["waits"] = {
            ranks: statistics.median(m["waits"][ranks] for m in group)
            for ranks in median["waits"]
        }
    return median


def _per_node(measured: Measurements) -> int:
    """Return the ranks of a node: those it had in exchanges between nodes, or cores."""
    internode = [
        exchange["ranks"] // exchange["nodes"]
        for exchange in measured["exchanges"]
        if exchange["nodes"] > 1
    ]
    return max(internode) if internode else environment.cores()


def _rank_counts(study: Study) -> list[int]:
    """Return the numbers of ranks among which exchanges are measured."""
    counts = {ranks for ranks in study.ranks if 1 < ranks <= launcher.slots()}
    return sorted(counts or {2})


def _measure(folder: Path, ranks: int, wanted: Measurements) -> Measurements:
    """Return what so many ranks measure, in processes of their own."""
    request, answer = folder / "wanted.json", folder / "found.json"
    request.write_text(json.dumps(wanted))
    words = launcher.launch_command(ranks) + launcher.mpipgd_command(
        "measure", request, answer
    )
    env = launcher.launch_environment(ranks)
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if done.returncode:
        raise MpipgdError(f"{ranks} ranks could not measure: {done.stderr.strip()}")
    measured = json.loads(answer.read_text())
    request.unlink()
    answer.unlink()
    return measured


def _wanted_steps(study: Study, ranks_at_once: int = 1) -> list[Measurement]:
    """Return the steps to measure: the study's, and others so that lines can be fitted.

    Those that several ranks take at once are only the study's on so many ranks.
    """
    single = ranks_at_once == 1
    wanted: dict[tuple[str, float, int, str], str] = {}
    for label, base in study.settings.items():
        text = toml.to_text(base)
        for mode in study.modes:
            for ranks in study.ranks if single else [ranks_at_once]:
                sizes = study.sizes(mode, base, ranks)
                share = sizes.get("rows_share", base.rows_share) / ranks
                batch = sizes.get("batch_size", base.batch_size)
                for how in _ways(base, ranks):
                    wanted[label, share, batch, how] = text
        if single:
            for ranks in RANKS_TRIED:
                share = base.rows_share / ranks
                for how in _ways(base):
                    wanted[label, share, base.batch_size, how] = text
            for batch in BATCHES:  # of the smallest share
                for how in _ways(base):
                    wanted[label, share, batch, how] = text
    return [dict(zip(STEP, key)) | {"options": text} for key, text in wanted.items()]


def _ways(base: TrainConfig, ranks: int = 2) -> tuple[str, ...]:
    """Return how steps are taken on so many ranks, see `microbench.steps`."""
    if ranks == 1 or base.strategy != "sync":
        return ("alone",)
    return "marching", "one by one"


def _exchange_cases(steps: Sequence[Measurement]) -> list[Measurement]:
    """Return the vectors whose exchange is measured."""
    cases: list[Measurement] = [
        {"size": size, "dtype": "float64", "compiled": True, "apart": False}
        for size in SIZES
    ]
    for step in steps:
        for apart in (True, False):
            case = {key: step[key] for key in ("size", "dtype", "compiled")}
            case["apart"] = apart
            if case not in cases:
                cases.append(case)
    return cases


def describe(measured: Measurements) -> Iterator[str]:
    """Yield lines on what was measured."""
    steps, exchanges = measured["steps"], measured["exchanges"]
    rates = [s["read_bytes"] / max(s["read_seconds"], 1e-9) for s in steps]
    for label in dict.fromkeys(step["label"] for step in steps):
        labelled = [step for step in steps if step["label"] == label]
        how = labelled[-1]["how"]
        labelled = [step for step in labelled if step["how"] == how]
        line = fit_line(
            [step["batch"] for step in labelled], [step["seconds"] for step in labelled]
        )
        yield (
            f"{label}: a step takes {1e6 * line.intercept:.3g} µs + "
            f"{1e9 * line.slope:,.0f} ns a row, {labelled[0]['size']:,} weights"
        )
    yield f"reading: {max(rates) / 1e9:.2g} GB/s"
    for ranks, nodes in sorted({(e["ranks"], e["nodes"]) for e in exchanges}):
        same = [
            e for e in exchanges
            if (e["ranks"], e["nodes"], e["apart"]) == (ranks, nodes, False)
        ]  # fmt: skip
        line = fit_line([e["bytes"] for e in same], [e["seconds"] for e in same])
        where = "one node" if nodes == 1 else f"{nodes} nodes"
        yield (
            f"exchange, {ranks} ranks on {where}: α = {1e6 * line.intercept:.3g} µs, "
            f"1/β = {1e-9 / max(line.slope, 1e-15):.3g} GB/s"
        )


def build_cost_model(
    measured: Measurements,
    *,
    network: Sequence[float] | None = None,
    per_node: int | None = None,
) -> CostModel:
    """Return the cost model of what was measured, and of what the user stated."""
    return CostModel(
        measured,
        per_node=per_node or measured["per_node"],
        network=Network(*network) if network else None,
    )
