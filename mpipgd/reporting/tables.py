"""Tables as lines of text, and how numbers stand in them."""

from collections.abc import Iterable, Sequence

METRIC_NAMES = {  # key of a metric -> its name
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}


def format_table(
    rows: Iterable[Sequence[str]], *, right_aligned: bool = False
) -> list[str]:
    """Return rows of texts as lines with aligned columns.

    `right_aligned`: align all columns but the first to the right.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    align_rest = str.rjust if right_aligned else str.ljust
    aligners = [str.ljust] + [align_rest] * (len(widths) - 1)
    return [
        "  ".join(
            align(cell, width) for align, cell, width in zip(aligners, row, widths)
        ).rstrip()
        for row in rows
    ]


def format_number(value: float | None, spec: str) -> str:
    """Return a number by a format specification; a dash for None."""
    return "–" if value is None else format(value, spec)


def format_digits(value: float | None) -> str:
    """Return a number with four significant digits, trailing zeros too.

    Numbers from ten thousand on have all their digits before the point.
    """
    if value is None:
        return "–"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".").replace(".e", "e")


def format_score(value: float | None) -> str:
    """Return a score with four decimals; a large one, of a bad model, in short."""
    if value is None:
        return "–"
    return f"{value:.4f}" if abs(value) < 1e3 else f"{value:.3g}"


def format_bytes(count: float | None) -> str:
    """Return a number of bytes in B, kB, MB or GB; a dash for None."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def format_duration(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(min(seconds, 359999)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
