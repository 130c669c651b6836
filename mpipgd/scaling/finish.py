"""From the runs that are there to tables and page."""

from . import collect, export, page, results


def written(study, folder):
    """Write tables and page of what a study's runs have left; return the rows."""
    records = collect.records(study, folder)
    rows = results.rows(records)
    export.write(folder, records, rows)
    page.write(folder, study, records, rows)
    return rows
