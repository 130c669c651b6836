"""Runs that nobody has made, from what the pieces of a study's runs cost."""

import dataclasses
from html import escape

from ...reporting import tables
from ...reporting.html import table
from .cost_model import MODELLED

HEADINGS = ("setting", "ranks", "s an epoch", "efficiency", "in exchanges")
HEADINGS += ("batch for a tenth", "steps between averages for a tenth")


def predict(study, costs, rows):
    """Fill in what the model says of the study's own points."""
    for row in rows:
        base = study.settings[row.label]
        options = dataclasses.replace(base, **study.sizes(row.mode, base, row.ranks))
        found = costs.epoch(row.label, options, row.ranks)
        row.predicted = None if found is None or row.crowded else found[0]


def forecast(study, costs, ranks):
    """Return the rows of the forecast for other numbers of ranks, as texts."""
    cells = []
    for label, base in study.settings.items():
        one = costs.epoch(label, dataclasses.replace(base, workers=1), 1)
        for many in ranks:
            cells.append(
                (label, f"{many:,}", *_forecast(study, costs, label, many, one))
            )
    return cells


def _forecast(study, costs, label, ranks, one):
    base = study.settings[label]
    changes = {"workers": ranks}
    if base.strategy == "sync":
        changes["batch_size"] = max(1, round(study.batch(base) / ranks))
    options = dataclasses.replace(base, **changes)
    found = costs.epoch(label, options, ranks)
    if found is None:
        return "unknown", "", "", "", ""
    seconds, sent = found
    batch, period = costs.advice(label, options, ranks)
    efficiency = one[0] / (seconds * ranks)
    texts = f"{seconds:.4g}", f"{efficiency:.2f}", f"{sent / seconds:.0%}"
    return (
        *texts,
        "more than the rows" if batch is None else f"{batch:,}",
        f"{period:,}",
    )


def remarks(study, costs, rows, ranks=()):
    """Yield sentences: how far the model is off where it can be told; its ground."""
    errors = [abs(row.error) for row in rows if row.predicted and row.ranks > 1]
    if errors:
        yield (
            f"Against {len(errors)} measured points on several ranks the model is off "
            f"by {max(errors):.0%} at most, {sum(errors) / len(errors):.0%} on average."
        )
    else:
        yield "No measured point on several ranks tells how far the model is off."
    if max(ranks, default=1) > costs.per_node:
        yield _on_networks(costs)
    others = [k for k, e in study.settings.items() if e.strategy not in MODELLED]
    if others:
        yield f"Not modelled: {', '.join(others)}."


def _on_networks(costs):
    nodes = f"with {costs.per_node} ranks a node"
    if costs.network:
        latency, bandwidth = costs.network
        return (
            f"Between nodes, {nodes}, the network is taken as stated: "
            f"{1e6 * latency:.3g} µs, {bandwidth / 1e9:.3g} GB/s; it was not measured."
        )
    if costs.far:
        return (
            f"Between nodes, {nodes}, the network is as measured between two: "
            f"{1e6 * costs.far.first:.3g} µs, {1e-9 / max(costs.far.each, 1e-15):.3g} "
            "GB/s; contention among many nodes cannot be known from two."
        )
    return (
        f"Between nodes, {nodes}, nothing was measured here and nothing stated: what "
        "needs a network is unknown. State one with --network."
    )


def html_section(study, costs, rows, ranks, said=()):
    """Yield the parts of a page that foretell."""
    yield "<h2>Foretold</h2>"
    for sentence in (*said, *remarks(study, costs, rows, ranks)):
        yield f"<p>{escape(sentence)}</p>"
    if ranks:
        yield table(HEADINGS, forecast(study, costs, ranks), [])


def lines(study, costs, rows, ranks):
    """Return the forecast for a terminal."""
    found = [HEADINGS, *forecast(study, costs, ranks)] if ranks else []
    text = tables.format_table(found) if found else []
    return [*text, *remarks(study, costs, rows, ranks)]
