"""Tables and page of a study, from the runs that have ended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...atomic_file import atomic_write_text
from ...errors import CheckpointError
from . import calibrate, export, forecast, page, runner, statistics
from .network import Network
from .study import Study


def write_report(study: Study, folder: Path) -> list[str]:
    """Write tables and page of a study; return the lines for a terminal."""
    runs = runner.read_runs(study, folder)
    results = statistics.summarize(runs)
    sections: list[str] = []
    lines: list[str] = []
    measured, request = calibrate.read(folder), _forecast_request(folder)
    if measured:
        ranks = request.pop("ranks", [])
        model = calibrate.build_cost_model(measured, **request)
        results = forecast.with_predictions(study, model, results)
        measurements = list(calibrate.describe(measured))
        sections = list(
            forecast.html_section(study, model, results, ranks, measurements)
        )
        lines = ["", *measurements, ""]
        lines += forecast.lines(study, model, results, ranks)
    export.write(folder, runs, results)
    page.write(folder, study, runs, results, sections)
    return [*export.lines(results), *statistics.too_small_lines(results), *lines]


def save_forecast_request(
    folder: Path, ranks: Sequence[int], network: Network | None, per_node: int | None
) -> None:
    """Save in the folder of a study what its report is to predict."""
    request = {"ranks": ranks, "network": network, "per_node": per_node}
    text = json.dumps(request) + "\n"
    atomic_write_text(Path(folder) / "forecast.json", text, CheckpointError)


def _forecast_request(folder: Path) -> dict[str, Any]:
    path = Path(folder) / "forecast.json"
    return json.loads(path.read_text()) if path.exists() else {}
