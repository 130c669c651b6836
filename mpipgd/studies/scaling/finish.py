"""From the runs that are there to tables and page."""

import json
from pathlib import Path

from ...atomic_file import atomic_replace
from ...errors import CheckpointError
from . import calibrate, export, forecast, page, runner, statistics


def write_report(study, folder):
    """Write tables and page of what a study's runs have left; return their lines."""
    records = runner.records(study, folder)
    rows, parts, more = statistics.rows(records), (), []
    found, asked = calibrate.read(folder), _asked(folder)
    if found:
        ranks = asked.pop("ranks", [])
        costs = calibrate.costs(found, **asked)
        forecast.predict(study, costs, rows)
        parts = forecast.html_section(
            study, costs, rows, ranks, calibrate.describe(found)
        )
        more = ["", *calibrate.describe(found), ""]
        more += forecast.lines(study, costs, rows, ranks)
    export.write(folder, records, rows)
    page.write(folder, study, records, rows, parts)
    return [*export.lines(rows), *more]


def save_forecast_request(folder, ranks, network, per_node):
    """Keep what is to be foretold in the folder of a study."""
    asked = {"ranks": ranks, "network": network, "per_node": per_node}
    with atomic_replace(Path(folder) / "forecast.json", CheckpointError) as temporary:
        temporary.write_text(json.dumps(asked) + "\n")


def _asked(folder):
    path = Path(folder) / "forecast.json"
    return json.loads(path.read_text()) if path.exists() else {}
