"""The pictures of a study: times, speed-up, efficiency, shares, epochs to a target."""

from ...reporting.plots import figure, style
from .runner import SHARES

SHARE_COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#999999")


def lines(rows, value, between, *, label, ideal=None, log=False):
    """Draw one number of all settings of a mode by the ranks; return the figure.

    `ideal(ranks, base)` is drawn thin; ranks that outnumber cores have hollow markers.
    """
    made, axes = figure(6.4, 3.7)
    for number, name in enumerate(dict.fromkeys(row.label for row in rows)):
        mine = [row for row in rows if row.label == name and value(row) is not None]
        if not mine:
            continue
        look = style(number, 1) | {"markevery": None}
        x, y = [row.ranks for row in mine], [value(row) for row in mine]
        axes.plot(x, y, label=name, **look)
        for row in mine:
            low, high = between(row) or (value(row),) * 2
            axes.vlines(row.ranks, low, high, color=look["color"], linewidth=1.2)
            if row.crowded:
                hollow = {"markerfacecolor": "white", "linestyle": "", "zorder": 5}
                axes.plot([row.ranks], [value(row)], **look | hollow)
        if ideal:
            best = [ideal(each, mine[0]) for each in x]
            axes.plot(x, best, color=look["color"], linewidth=0.6, linestyle=":")
        _predicted(axes, mine, value, look)
    _ranks(axes, sorted({row.ranks for row in rows}))
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    made.legend(loc="outside upper center", ncols=3, frameon=False)
    return made


def _predicted(axes, rows, value, look):
    """Add the predictions of times as crosses."""
    known = [row for row in rows if row.predicted and value(row) == row.seconds]
    if known:
        x, y = [row.ranks for row in known], [row.predicted for row in known]
        axes.plot(x, y, "x", color=look["color"], markersize=9, label="predicted")


def _ranks(axes, ranks):
    """Make the axis of ranks logarithmic, with those that ran as its ticks."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(each) for each in ranks])
    axes.minorticks_off()
    axes.set_xlim(ranks[0] / 1.2, ranks[-1] * 1.2)
    axes.set_xlabel("ranks")


def shares(rows):
    """Draw the shares of compute, exchange, wait and read as bars; the figure."""
    names = [f"{row.label}\n{row.ranks}" for row in rows]
    made, axes = figure(max(6.4, 1.0 + 0.8 * len(rows)), 3.4)
    bottom = [0.0] * len(rows)
    for name, colour in zip(SHARES, SHARE_COLOURS):
        heights = [100 * row.shares[name] for row in rows]
        axes.bar(names, heights, 0.7, bottom=bottom, label=name, color=colour)
        bottom = [a + b for a, b in zip(bottom, heights)]
    axes.set(ylim=(0, 100), ylabel="% of the seconds", xlabel="setting, ranks")
    axes.grid(visible=False, axis="x")
    made.legend(loc="outside upper center", ncols=4, frameon=False)
    return made
