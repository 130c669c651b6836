"""A table as people have them, to try things with: houses that were sold."""

from __future__ import annotations

import csv
import datetime
import io
from pathlib import Path

import numpy as np

from ...atomic_file import atomic_write_text
from ...errors import DataError, UsageError

NAME = "houses"
COLUMNS = (
    *("id", "town", "built", "area", "rooms", "heating", "energy", "sold", "price"),
)
TOWNS = {
    "Ahorn": 2400,
    "Brück": 3100,
    "Cölpin": 1700,
    "Eich, Upper": 2900,
    "Föhr": 4200,
}
HEATING = {"gas": 0, "oil": -9000, "heat pump": 21000, "wood": 4000}
ENERGY = "GFEDCBA"  # from bad to good
MISSING = {"built": 0.04, "heating": 0.06, "energy": 0.1}  # share of missing cells
FIRST_DAY = datetime.date(2020, 1, 1)


def write_example_table(
    out: str, *, rows: int = 2000, seed: int = 0, overwrite: bool = False
) -> None:
    """Write a CSV with texts, ordered texts, dates and missing cells; serial.

    The price is a linear function of size, age, town, heating, energy and day, with
    noise. Raises UsageError.
    """
    if Path(out).suffix != ".csv":
        raise UsageError(f"OUT is {out}, expected a name that ends in .csv")
    if Path(out).exists() and not overwrite:
        raise UsageError(f"{out} exists already: --overwrite replaces it")
    if rows < 1:
        raise UsageError(f"--rows is {rows}, expected a number from 1")
    draw = np.random.default_rng(seed)
    towns, heatings = list(TOWNS), list(HEATING)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number in range(rows):
        town, heating = draw.choice(towns), draw.choice(heatings)
        built, energy = int(draw.integers(1900, 2024)), int(draw.integers(7))
        area = round(float(draw.gamma(9, 14)) + 25, 1)
        rooms = max(1, round(area / 27 + draw.normal()))
        day = int(draw.integers(1800))
        price = area * TOWNS[town] + HEATING[heating] + 400 * (built - 1960)
        price += 9000 * energy + 25 * day + 2500 * rooms + 20000 * draw.normal()
        cells = {
            "id": f"H{number:06}",
            "town": town,
            "built": built,
            "area": area,
            "rooms": rooms,
            "heating": heating,
            "energy": ENERGY[energy],
            "sold": FIRST_DAY + datetime.timedelta(day),
            "price": round(price),
        }
        for name, share in MISSING.items():
            if draw.random() < share:
                cells[name] = ""
        writer.writerow(cells.values())
    atomic_write_text(Path(out), text.getvalue(), DataError)
