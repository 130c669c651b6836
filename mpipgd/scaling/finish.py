"""From the runs that are there to tables and page."""

import json
from pathlib import Path

from ..atomic import replacing
from ..errors import CheckpointError
from . import calibrate, collect, export, forecast, page, results


def written(study, folder):
    """Write tables and page of what a study's runs have left; return their lines."""
    records = collect.records(study, folder)
    rows, parts, more = results.rows(records), (), []
    found, asked = calibrate.read(folder), _asked(folder)
    if found:
        ranks = asked.pop("ranks", [])
        costs = calibrate.costs(found, **asked)
        forecast.foretell(study, costs, rows)
        parts = forecast.part(study, costs, rows, ranks, calibrate.said(found))
        more = ["", *calibrate.said(found), ""]
        more += forecast.lines(study, costs, rows, ranks)
    export.write(folder, records, rows)
    page.write(folder, study, records, rows, parts)
    return [*export.lines(rows), *more]


def ask(folder, ranks, network, per_node):
    """Keep what is to be foretold in the folder of a study."""
    asked = {"ranks": ranks, "network": network, "per_node": per_node}
    with replacing(Path(folder) / "forecast.json", CheckpointError) as temporary:
        temporary.write_text(json.dumps(asked) + "\n")


def _asked(folder):
    path = Path(folder) / "forecast.json"
    return json.loads(path.read_text()) if path.exists() else {}
