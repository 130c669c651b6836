"""Measure the pieces of a study's runs: steps without exchanges, exchanges without.

A machine is not as fast now as it was a minute ago, so that pieces are measured in turn
with the runs, once a repeat, and their medians count.
"""

import json
import statistics
import subprocess
from pathlib import Path

from ...cluster import launcher
from ...comm import environment
from ...config import toml
from ...errors import MpipgdError
from .cost_model import CostModel, fitted

SIZES = (1, 100, 1_000, 10_000, 100_000, 1_000_000)  # doubles
PARTS = (1, 4, 16, 64)  # ranks whose share of the rows is tried, beside the study's
STEP = ("label", "share", "batch", "how")
STEPS = (*STEP, "ranks")
EXCHANGE = ("ranks", "nodes", "size", "dtype", "compiled", "apart")


def calibrate(study, folder, turn):
    """Measure once, and keep it in the folder, unless that turn is there already."""
    path = Path(folder, "calibration", f"{turn}.json")
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    found = _measured(folder, 1, {"steps": _wanted_steps(study)})
    cases = _cases(study, found["steps"])
    for ranks in _rank_counts(study):
        asked = {"exchanges": cases, "steps": _wanted_steps(study, ranks)}
        more = _measured(folder, ranks, asked)
        found = {key: found[key] + more[key] for key in found}
    path.write_text(json.dumps(found, indent=1) + "\n")


def read(folder):
    """Return what was measured, medians over all turns, as a dict; None if nothing."""
    turns = [
        json.loads(path.read_text())
        for path in sorted(Path(folder, "calibration").glob("*.json"))
    ]
    if not turns:
        return None
    found = {"per_node": _per_node(turns[0]), "turns": len(turns)}
    for name, keys in (("steps", STEPS), ("exchanges", EXCHANGE)):
        groups = {}
        for each in (each for turn in turns for each in turn[name]):
            groups.setdefault(tuple(each[key] for key in keys), []).append(each)
        found[name] = [_median(group) for group in groups.values()]
    return found


def _median(group):
    """Return one measurement, with the medians of several."""
    found = group[0] | {"seconds": statistics.median(e["seconds"] for e in group)}
    if "waits" in found:
        several, keys = [each["waits"] for each in group], found["waits"]
        found["waits"] = {k: statistics.median(e[k] for e in several) for k in keys}
    return found


def _per_node(found):
    """Return the ranks of a node: those it had in exchanges between nodes, or cores."""
    far = [e["ranks"] // e["nodes"] for e in found["exchanges"] if e["nodes"] > 1]
    return max(far) if far else environment.cores()


def _rank_counts(study):
    """Return the numbers of ranks among which exchanges are measured."""
    known = {ranks for ranks in study.ranks if 1 < ranks <= launcher.slots()}
    return sorted(known or {2})


def _measured(folder, ranks, wanted):
    """Have so many ranks measure something."""
    asked, answer = folder / "wanted.json", folder / "found.json"
    asked.write_text(json.dumps(wanted))
    words = launcher.launch_command(ranks) + launcher.mpipgd_command(
        "measure", asked, answer
    )
    env = launcher.launch_environment(ranks)
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    if done.returncode:
        raise MpipgdError(f"{ranks} ranks could not measure: {done.stderr.strip()}")
    found = json.loads(answer.read_text())
    asked.unlink()
    answer.unlink()
    return found


def _wanted_steps(study, beside=1):
    """Return the steps to measure: as the study's, and so that lines can be fitted.

    Those that are measured on several ranks at once are the study's on so many.
    """
    wanted = {}
    for label, base in study.settings.items():
        text = toml.to_text(base)
        for mode in study.modes:
            for ranks in study.ranks if beside == 1 else [beside]:
                sizes = study.sizes(mode, base, ranks)
                share = sizes.get("rows_share", base.rows_share) / ranks
                batch = sizes.get("batch_size", base.batch_size)
                for how in _ways(base, ranks):
                    wanted[label, share, batch, how] = text
        for parts in PARTS if beside == 1 else ():
            share = base.rows_share / parts
            for how in _ways(base):
                wanted[label, share, base.batch_size, how] = text
        for batch in (1, 8, 64, 512) if beside == 1 else ():
            for how in _ways(base):
                wanted[label, share, batch, how] = text
    return [dict(zip(STEP, key)) | {"options": text} for key, text in wanted.items()]


def _ways(base, ranks=2):
    """Return how steps are taken on so many ranks, see `measure.steps`."""
    if ranks == 1 or base.strategy != "sync":
        return ("alone",)
    return "marching", "one by one"


def _cases(study, steps):
    """Return the vectors whose exchange is measured."""
    cases = [
        {"size": size, "dtype": "float64", "compiled": True, "apart": False}
        for size in SIZES
    ]
    for each in steps:
        for apart in (True, False):
            case = {key: each[key] for key in ("size", "dtype", "compiled")}
            cases += [case | {"apart": apart}] * (case | {"apart": apart} not in cases)
    return cases


def describe(found):
    """Yield lines on what was measured."""
    rates = [e["read_bytes"] / max(e["read_seconds"], 1e-9) for e in found["steps"]]
    labels = dict.fromkeys(each["label"] for each in found["steps"])
    for label in labels:
        mine = [each for each in found["steps"] if each["label"] == label]
        mine = [each for each in mine if each["how"] == mine[-1]["how"]]
        line = fitted([e["batch"] for e in mine], [e["seconds"] for e in mine])
        size = mine[0]["size"]
        yield (
            f"{label}: a step takes {1e6 * line.first:.3g} µs + "
            f"{1e9 * line.each:,.0f} ns a row, {size:,} weights"
        )
    yield f"reading: {max(rates) / 1e9:.2g} GB/s"
    keys = sorted({(e["ranks"], e["nodes"]) for e in found["exchanges"]})
    for ranks, nodes in keys:
        mine = [
            e for e in found["exchanges"]
            if (e["ranks"], e["nodes"], e["apart"]) == (ranks, nodes, False)
        ]  # fmt: skip
        line = fitted([e["bytes"] for e in mine], [e["seconds"] for e in mine])
        where = "one node" if nodes == 1 else f"{nodes} nodes"
        yield (
            f"exchange, {ranks} ranks on {where}: α = {1e6 * line.first:.3g} µs, "
            f"1/β = {1e-9 / max(line.each, 1e-15):.3g} GB/s"
        )


def costs(found, *, network=None, per_node=None):
    """Return the `Costs` of what was measured, with what was stated, if anything."""
    return CostModel(found, per_node=per_node or found["per_node"], network=network)
