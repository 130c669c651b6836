"""A study as one page that opens from disk, and prints."""

from html import escape

from ...reporting import plots
from ...reporting.html import definition_list, document, picture, table
from . import export, figures, statistics

READING = (
    "Every number is a median over the repeats, with a 95 % bootstrap interval of that "
    "median. Speed-up and efficiency are against the fewest ranks of the same setting, "
    "whose seconds stand in the table. Time to a target is split in two: seconds an "
    "epoch are what the hardware did, epochs to the target what the statistics did. "
)
CROWDED = (
    "Hollow markers are runs with more ranks than cores: they say nothing about "
    "scaling, and have no efficiency."
)
TEXTS = {
    "strong": "Strong scaling: the same rows, shared by more ranks.",
    "weak": "Weak scaling: rows in proportion to the ranks.",
}


def write(folder, study, records, rows, forecast=()):
    """Write index.html of a study into its folder.

    `forecast`: parts that come behind the pictures.
    """
    title = f"Scaling on {study.name}"
    bad = [row.crowded for row in rows]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(READING + CROWDED * any(bad))}</p>",
        definition_list(_facts(study, records)),
        *_incomplete(study, records),
        *(
            f"<p>{escape(line)}.</p>"
            for line in statistics.weight_equality_lines(rows, records)
        ),
        table(*_head_and_rows(rows), bad),
        *_pictures(rows),
        *forecast,
    ]
    document(folder / "index.html", title, parts)


def _head_and_rows(rows):
    head, *cells = export.cells(rows)
    return head, cells


def _facts(study, records):
    """Return what all runs have in common, name -> value."""
    fine = [each for each in records if each["status"] == "ok"]
    facts = {}
    for label, base in study.settings.items():
        sizes = f"batch {base.batch_size} rows a worker"
        if base.strategy == "sync" and not base.workers and "strong" in study.modes:
            sizes = f"global batch {study.batch(base):,} in strong mode"
        model = f"{base.model}, {base.optimizer}, lr {base.lr:g}, {base.dtype or ''}"
        facts[label] = f"{model.rstrip(', ')}; {sizes}; {base.epochs} epochs"
    if fine:
        last = fine[-1]
        facts["machine"] = f"{last['platform']}, {last['cores']} cores a node"
        facts["MPI"] = last["library"]
        facts["nodes"] = f"up to {max(each['nodes'] for each in fine)}"
    return facts | {"repeats": study.repeat}


def _incomplete(study, records):
    """Yield paragraphs on runs that are missing or failed."""
    whole = len(list(study.points()))
    if len(records) < whole:
        yield f"<p><b>{len(records)} of {whole} runs have ended so far.</b></p>"
    for each in records:
        if each["status"] != "ok":
            name = f"{each['mode']} {each['label']}, {each['ranks']} ranks"
            yield f"<p>{escape(name)}: {escape(each['status'])}</p>"


def _pictures(rows):
    """Yield the pictures of each mode."""
    if not plots.has_matplotlib():
        yield "<p>Pictures need matplotlib: pip install matplotlib.</p>"
        return
    for mode, text in TEXTS.items():
        mine = [row for row in rows if row.mode == mode]
        if mine:
            yield f"<h2>{mode.capitalize()} scaling</h2><p>{text}</p>"
            yield from _of_mode(mode, mine)


def _of_mode(mode, rows):
    """Yield the pictures of one mode."""
    strong = mode == "strong"
    made = figures.lines(
        rows, lambda r: r.seconds, lambda r: r.between, label="seconds an epoch",
        ideal=_ideal if strong else lambda ranks, base: base.seconds, log=True,
    )  # fmt: skip
    text = "Seconds of training an epoch; dotted: ideal scaling from the fewest ranks."
    if any(row.predicted for row in rows):
        text += " Crosses: as the model has it."
    yield picture(made, f"{mode}-seconds", f"Time per epoch ({mode})", text)
    if any(row.efficiency is not None for row in rows):
        made = figures.lines(
            rows, lambda r: r.speedup, lambda r: r.speedup_between, label="speed-up",
            ideal=lambda ranks, base: ranks / base.ranks,
        )  # fmt: skip
        yield picture(made, f"{mode}-speedup", f"Speed-up ({mode})", "Dotted: ideal.")
        made = figures.lines(
            rows, lambda r: r.efficiency, lambda r: r.efficiency_between,
            label="efficiency", ideal=lambda ranks, base: 1.0,
        )  # fmt: skip
        text = "Of the ranks' time, what one rank would have needed too."
        yield picture(made, f"{mode}-efficiency", f"Efficiency ({mode})", text)
    text = "Where a run's seconds went, a mean rank's; read: its rows, once a run."
    heading = f"Shares of the time ({mode})"
    yield picture(figures.shares(rows), f"{mode}-shares", heading, text)
    if any(row.epochs for row in rows):
        made = figures.lines(
            rows, lambda r: r.epochs, lambda r: None, label="epochs to the target"
        )
        text = "The target is the worst of the runs' last losses: all reach it."
        yield picture(made, f"{mode}-epochs", "What the statistics did", text)


def _ideal(ranks, base):
    return base.seconds * base.ranks / ranks
