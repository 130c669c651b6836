"""Predictions of a study's runs, and of runs on more ranks, by the cost model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...reporting import tables
from ...reporting.html import heading, paragraph, table
from .cost_model import MAX_EXCHANGE_SHARE, MODELLED, CostModel, EpochCost
from .statistics import LEAST_EPOCH_SECONDS, ScalingResult, too_small
from .study import Study

HEADINGS = (
    "setting", "ranks", "seconds an epoch", "efficiency", "in exchanges",
    "global batch", "steps between averages",
)  # fmt: skip
ADVICE = (
    "Global batch and steps between averages: the least with which exchanges take no "
    f"more than {MAX_EXCHANGE_SHARE:.0%} of the time."
)
TOO_SMALL = "too small"  # in place of the seconds: work that cannot be predicted


def with_predictions(
    study: Study, model: CostModel, results: Sequence[ScalingResult]
) -> list[ScalingResult]:
    """Return the results of a study with what the model predicts for them.

    Without a prediction where ranks outnumber cores, or the work is too small.
    """
    predicted, small = [], too_small(results)
    for result in results:
        base = study.settings[result.label]
        options = dataclasses.replace(
            base, **study.sizes(result.mode, base, result.ranks)
        )
        cost = model.epoch(result.label, options, result.ranks)
        unfit = result.crowded or (result.mode, result.label) in small
        seconds = None if unfit or cost is None else cost.seconds
        predicted.append(replace(result, predicted=seconds))
    return predicted


def forecast(
    study: Study, model: CostModel, rank_counts: Sequence[int]
) -> list[tuple[str, ...]]:
    """Return the rows of the forecast for other numbers of ranks, as texts."""
    rows = []
    for label, base in study.settings.items():
        serial = model.epoch(label, dataclasses.replace(base, workers=1), 1)
        for ranks in rank_counts:
            cells = _cells(study, model, label, ranks, serial)
            rows.append((label, f"{ranks:,}", *cells))
    return rows


def _cells(
    study: Study, model: CostModel, label: str, ranks: int, serial: EpochCost | None
) -> tuple[str, ...]:
    base = study.settings[label]
    options = dataclasses.replace(base, workers=ranks)
    if base.strategy == "sync":
        batch_size = max(1, round(study.batch(base) / ranks))
        options = dataclasses.replace(options, batch_size=batch_size)
    cost = model.epoch(label, options, ranks)
    if cost is None or serial is None:
        return ("unknown", *4 * ("–",))
    if serial.seconds < LEAST_EPOCH_SECONDS:
        return (TOO_SMALL, *4 * ("–",))
    batch, period = model.advice(label, options, ranks)
    return (
        f"{cost.seconds:.4g}",
        f"{serial.seconds / (cost.seconds * ranks):.2f}",
        f"{cost.exchanges / cost.seconds:.0%}",
        "more than the rows" if batch is None else f"{batch:,}",
        f"{period:,}",
    )


def remarks(
    study: Study,
    model: CostModel,
    results: Sequence[ScalingResult],
    ranks: Sequence[int] = (),
) -> Iterator[str]:
    """Yield sentences on the errors of the model, where known, and on its basis."""
    errors = [
        abs(result.error)
        for result in results
        if result.error is not None and result.predicted and result.ranks > 1
    ]
    if errors:
        yield (
            f"Against {_count(len(errors), 'measured point')} on several ranks the "
            f"model is off by {max(errors):.0%} at most, "
            f"{sum(errors) / len(errors):.0%} on average."
        )
    elif too_small(results):
        yield (
            "Nothing is predicted where an epoch takes less than "
            f"{1e3 * LEAST_EPOCH_SECONDS:g} ms: too little work."
        )
    else:
        yield "No measured point on several ranks tells how far the model is off."
    if max(ranks, default=1) > model.per_node:
        yield _network_remark(model)
    others = [
        label
        for label, options in study.settings.items()
        if options.strategy not in MODELLED
    ]
    if others:
        yield f"Not modelled: {', '.join(others)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _network_remark(model: CostModel) -> str:
    nodes = f"with {model.per_node} ranks a node"
    if model.network:
        latency, bandwidth = model.network
        return (
            f"Between nodes, {nodes}, the network is taken as stated: "
            f"{1e6 * latency:.3g} µs, {bandwidth / 1e9:.3g} GB/s; it was not measured."
        )
    if model.internode:
        latency, slope = model.internode.intercept, model.internode.slope
        return (
            f"Between nodes, {nodes}, the network is as measured between two: "
            f"{1e6 * latency:.3g} µs, {1e-9 / max(slope, 1e-15):.3g} "
            "GB/s; contention among many nodes cannot be known from two."
        )
    return (
        f"Between nodes, {nodes}, nothing was measured here and nothing stated: what "
        "needs a network is unknown. State one with --network."
    )


def html_section(
    study: Study,
    model: CostModel,
    results: Sequence[ScalingResult],
    ranks: Sequence[int],
    measurements: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the HTML of the forecast; `measurements` are sentences to begin with."""
    yield heading("Predicted")
    for sentence in (*measurements, *remarks(study, model, results, ranks)):
        yield paragraph(sentence)
    if ranks:
        yield paragraph(ADVICE)
        yield table(HEADINGS, forecast(study, model, ranks))


def lines(
    study: Study,
    model: CostModel,
    results: Sequence[ScalingResult],
    ranks: Sequence[int],
) -> list[str]:
    """Return the forecast for a terminal."""
    rows = [HEADINGS, *forecast(study, model, ranks)] if ranks else []
    text = tables.format_table(rows) if rows else []
    advice = [ADVICE] if ranks else []
    return [*text, *advice, *remarks(study, model, results, ranks)]
