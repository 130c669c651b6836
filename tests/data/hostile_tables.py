"""Tables as spreadsheets, exports and mishaps leave them, and what must become of them.

ACCEPTED are files that are trained on and predicted from: pandas reads them as said.
REFUSED are files that no number may be made of: a sentence says where, and why.
"""

import bz2
import contextlib
import gzip
import io
import os
import pickle
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet
from scipy import sparse

ESCAPE = "\x1b[31m"
MIB = 1 << 20


def sizes(n: int = 40, seed: int = 0) -> pd.DataFrame:
    """Return a table: a number, a text of four, and what a plane makes of them."""
    draw = np.random.default_rng(seed)
    size = draw.normal(size=n).round(3)
    kind = draw.choice(["red", "green", "blue", "grey"], n)
    price = (3 * size + np.where(kind == "red", 2, 0) + 5).round(4) + 1 / 16
    return pd.DataFrame({"size": size, "kind": kind, "price": price})


def written(table: pd.DataFrame, **style: Any) -> bytes:
    """Return a table as the bytes of a CSV file, in a style of pandas."""
    encoding = style.pop("encoding", "utf-8")
    text = table.to_csv(None, **{"index": False, "lineterminator": "\n"} | style)
    return text.encode(encoding)


def csv(header: str, rows: Any, n: int = 20) -> bytes:
    """Return the bytes of a header and of n rows, row k being rows(k)."""
    return "\n".join([header, *(rows(k) for k in range(n)), ""]).encode()


def parquet_of(table: Any, **options: Any) -> bytes:
    """Return an Arrow table, or its columns, as the bytes of a Parquet file."""
    target = io.BytesIO()
    parquet.write_table(as_arrow(table), target, **options)
    return target.getvalue()


def as_arrow(table: Any) -> pa.Table:
    """Return an Arrow table as it is, or of columns or pandas."""
    if isinstance(table, pd.DataFrame):
        return pa.Table.from_pandas(table, preserve_index=False)
    return table if isinstance(table, pa.Table) else pa.table(table)


def batches(table: Any) -> list[pa.RecordBatch]:
    """Return an Arrow table, or its columns, as record batches."""
    return as_arrow(table).to_batches()


def arrow_of(
    parts: list[pa.RecordBatch], schema: pa.Schema | None = None, **options: Any
) -> bytes:
    """Return record batches as the bytes of an Arrow file."""
    target = io.BytesIO()
    written_so = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_file(target, schema or parts[0].schema, options=written_so) as out:
        for part in parts:
            out.write_batch(part)
    return target.getvalue()


def zipped(content: bytes) -> bytes:
    """Return a ZIP file that holds some bytes, as spreadsheets are."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", content)
    return target.getvalue()


def npz_of(**arrays: Any) -> bytes:
    """Return arrays as the bytes of an NPZ file."""
    target = io.BytesIO()
    np.savez(target, **arrays)
    return target.getvalue()


@dataclass(frozen=True)
class Table:
    """A file that holds a table.

    content   its bytes, or what writes it to a path
    reading   how pandas reads it; or a function from its path to the table
    flags     of train
    label     the target; None: the last column
    classes   whether the target is one
    missing   what stands for missing cells, of --missing
    says      what train must say of it
    """

    file: str
    content: Any
    reading: Any = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    label: str | None = None
    classes: bool = False
    missing: str | None = None
    says: str | None = None


@dataclass(frozen=True)
class NoTable:
    """A file that cannot be trained on.

    says      patterns that the message must hold, apart from the name of the file
    code      the exit code: of data, or of usage
    others    files beside it
    blamed    the file to be named; None: the first
    """

    file: str
    content: Any
    says: tuple[str, ...]
    flags: tuple[str, ...] = ()
    code: int = 3
    others: dict[str, bytes] = field(default_factory=dict)
    blamed: str | None = None


def write(file: Table | NoTable, folder: Path) -> Path:
    """Write a file to a folder; return its path."""
    path = folder / file.file
    if isinstance(file, NoTable):
        for name, content in file.others.items():
            (folder / name).write_bytes(content)
    if callable(file.content):
        file.content(path)
    else:
        path.write_bytes(file.content)
    return path


def utf8_then_latin1() -> bytes:
    rows = [f"{k},{k % 7}.5,plain text {k % 3},{k}" for k in range(40_000)]
    rows[39_000:39_100] = ["39000,4.5,caf\xe9,39000"] * 100
    return "\n".join(["id,a,note,price", *rows, ""]).encode("latin-1")


def zero_byte_late() -> bytes:
    return (
        csv("a,note,price", lambda k: f"{k % 7}.5,plain text {k % 3},{k}", 60_000)[
            :-40_000
        ]
        + b"3,\0,4\n"
    )


def text_after(n: int, late: str, label: str = "{k}.25") -> bytes:
    rows = [f"{k}.5,{k % 5},{label.format(k=k)}" for k in range(n)]
    rows[n - 3] = f"{late},1,{label.format(k=n)}"
    return "\n".join(["a,b,price", *rows, ""]).encode()


def hard_quotes(n: int = 30) -> pd.DataFrame:
    texts = ['say "hi"', "one, two", "line\nbreak", 'all,\n"of", it', "'", "5' x"]
    return sizes(n).assign(kind=[texts[k % len(texts)] for k in range(n)])


def days(n: int = 30, **style: Any) -> pd.DataFrame:
    day = pd.Series(pd.date_range("1969-12-20", periods=n, freq="7h"))
    return pd.DataFrame({"day": day, "size": sizes(n)["size"], "price": sizes(n).price})


def with_column(name: str, values: Any, n: int = 30) -> pd.DataFrame:
    """Return `sizes` with a column in front, whose values go round."""
    table = sizes(n)
    table.insert(0, name, [values[k % len(values)] for k in range(n)])
    return table


def texts(*columns: str) -> dict[str, Any]:
    """Return how pandas reads some columns as texts."""
    return {"dtype": dict.fromkeys(columns, str)}


def arrow_columns(n: int = 24, **columns: Any) -> pa.Table:
    """Return an Arrow table of columns, a number and the price."""
    table = sizes(n)
    return pa.table(
        columns | {"size": pa.array(table["size"]), "price": pa.array(table["price"])}
    )


def read_arrow(path: Path) -> pd.DataFrame:
    return pa.ipc.open_file(path).read_all().to_pandas()


def wide(n_columns: int = 10_000, name: str = "column {k}") -> bytes:
    draw = np.random.default_rng(1)
    cells = draw.integers(0, 9, (6, n_columns))
    names = [name.format(k=k) for k in range(n_columns)]
    return "\n".join(
        [",".join(names), *(",".join(map(str, row)) for row in cells), ""]
    ).encode()


def order_of(n: int) -> np.ndarray:
    """Return where the rows of a table come to lie; the last fifth are test rows."""
    return np.random.default_rng(0).permutation(n)


def only_test_rows_are(n: int = 20) -> pd.DataFrame:
    """Return a table of two classes, of which training rows have one."""
    kind = np.where(order_of(n) < n - round(n * 0.2), "yes", "no")
    return sizes(n)[["size"]].assign(kind=kind)


def batches_with_empty_ones() -> list[pa.RecordBatch]:
    table = pa.Table.from_pandas(sizes(), preserve_index=False)
    (batch,) = table.combine_chunks().to_batches()
    return [batch[:0], batch[:7], batch[7:7], batch[7:30], batch[30:], batch[:0]]


NAMES = {
    "emoji": "größe 🌍",
    "quoted": 'say "hi", you',
    "broken": "line\nbreak",
    "tabbed": "a\tb",
    "script": "<script>alert(1)</script>",
    "formula": "=1+1",
    "number": "2019",
    "percent": "50%",
    "equals": "a=b",
    "slash": "a/b",
    "dot": ".",
}


def with_names(*names: str, n: int = 20) -> pd.DataFrame:
    draw = np.random.default_rng(2)
    cells = {name: draw.normal(size=n).round(3) for name in names}
    return pd.DataFrame(cells | {"price": draw.normal(size=n).round(3)})


N = sizes()
ACCEPTED: dict[str, Table] = {
    # how a CSV file is written
    "byte order mark": Table("t.csv", written(N, encoding="utf-8-sig")),
    "cp1252": Table(
        "t.csv",
        written(with_column("Größe", ["5 €", "groß", "“klein”"]), encoding="cp1252"),
        {"encoding": "cp1252"},
    ),
    "latin-1": Table(
        "t.csv",
        written(with_column("Größe", ["groß", "naïve"]), encoding="latin-1"),
        {"encoding": "latin-1"},
    ),
    "semicolons, decimal commas": Table(
        "t.csv", written(N, sep=";", decimal=","), {"sep": ";", "decimal": ","}
    ),
    "tabs": Table("t.tsv", written(N, sep="\t"), {"sep": "\t"}),
    "tabs in a .csv": Table("t.csv", written(N, sep="\t"), {"sep": "\t"}),
    "bars": Table("t.txt", written(N, sep="|"), {"sep": "|"}),
    "names with commas, semicolons between": Table(
        "t.csv",
        b"size, m;weight, kg;price, EUR\n"
        + b"".join(b"%d,5;%d,25;%d,5\n" % (k, k % 7, 3 * k) for k in range(20)),
        {"sep": ";", "decimal": ","},
    ),
    "decimal commas after 1,500 whole numbers": Table(
        "t.csv",
        csv(
            "a;b;price", lambda k: f"{k % 50};{k};{k}" if k < 1500 else "1,5;3;4", 1600
        ),
        {"sep": ";", "decimal": ","},
    ),
    "decimal commas and a version": Table(
        "t.csv",
        csv("a;version;price", lambda k: f"{k},5;{k % 3}.1;{k},25"),
        {"sep": ";", "decimal": ",", **texts("version")},
    ),
    "a line sep=; first": Table(
        "t.csv",
        b"sep=;\n" + written(N[["size", "price"]], sep=";"),
        {"sep": ";", "skiprows": 1},
    ),
    "CRLF": Table("t.csv", written(N, lineterminator="\r\n")),
    "CR": Table("t.csv", written(N, lineterminator="\r")),
    "mixed line ends": Table(
        "t.csv", written(N[:20]) + written(N[20:], header=False, lineterminator="\r\n")
    ),
    "no final newline": Table("t.csv", written(N).rstrip()),
    "blank lines behind": Table("t.csv", written(N) + b"\n\r\n\n\n"),
    "blank lines before": Table("t.csv", b"\n\r\n\n" + written(N)),
    "blank lines between": Table("t.csv", written(N).replace(b"\n", b"\n\n")),
    "all cells quoted": Table("t.csv", written(N, quoting=1)),
    "quotes with separators and line breaks": Table("t.csv", written(hard_quotes())),
    "quotes with CRLF": Table(
        "t.csv",
        written(hard_quotes(), lineterminator="\r\n"),
    ),
    "quotes within words": Table(
        "t.csv", csv("a,kind,price", lambda k: f'{k}.5,{k % 3}" pipe,{k}')
    ),
    "backslashes": Table(
        "t.csv", csv("a,kind,price", lambda k: f"{k},a\\{k % 3}b,{k}")
    ),
    "spaces around cells": Table(
        "t.csv",
        csv("a , b,price", lambda k: f" {k}.5 , {k % 2}x,{k}"),
        lambda path: pd.read_csv(path).rename(columns=str.strip),
    ),
    "gzip": Table("t.csv.gz", gzip.compress(written(N))),
    "gzip in members": Table(
        "t.csv.gz", gzip.compress(written(N)[:99]) + gzip.compress(written(N)[99:])
    ),
    "bzip2": Table("t.tsv.bz2", bz2.compress(written(N, sep="\t")), {"sep": "\t"}),
    "latin-1 behind a MiB of ASCII": Table(
        "t.csv",
        utf8_then_latin1(),
        {"encoding": "latin-1"},
        flags=("--encoding", "latin-1"),
    ),
    "no names": Table(
        "t.csv",
        written(N[["size", "price"]], header=False),
        lambda path: pd.read_csv(path, names=["x0", "x1"]),
        flags=("--no-header",),
    ),
    "separated by carets": Table(
        "t.csv", written(N, sep="^"), {"sep": "^"}, flags=("--separator", "^")
    ),
    "upper-case ending": Table("T.CSV", written(N)),
    # names
    "names of all kinds": Table("t.csv", written(with_names(*NAMES.values()))),
    "names that differ in case": Table(
        "t.csv", written(with_names("a", "A", "Ä", "ä"))
    ),
    "names that are empty": Table(
        "t.csv",
        b",b,,price\n" + written(with_names(*"abc"), header=False),
        lambda path: pd.read_csv(path).set_axis(
            ["column 1", "b", "column 3", "price"], axis=1
        ),
    ),
    "a name like a number from the end": Table("t.csv", written(with_names("-1", "0"))),
    "terminal escapes": Table(
        "t.csv", written(with_column(f"{ESCAPE}a", [f"{ESCAPE}x", "y\a"]))
    ),
    "a feature as one of another column": Table(
        "t.csv",
        csv("kind,kind=x,price", lambda k: f"{'xy'[k % 2]},{k % 5}.5,{k}"),
    ),
    # rows
    "one row": Table("t.csv", b"a,kind,price\n1.5,x,3.5\n"),
    "two rows": Table("t.csv", b"a,kind,price\n1.5,x,3.5\n2.5,y,4\n"),
    "a constant label": Table("t.csv", written(N.assign(price=2.5))),
    "labels missing, rows dropped": Table(
        "t.csv",
        written(N.assign(price=N.price.mask(N.index % 5 == 3))),
        missing="drop",
        says="8 rows with missing cells were left out",
    ),
    # numbers
    "19-digit ids": Table(
        "t.csv",
        csv("id,a,price", lambda k: f"{9007199254740993 + 1001 * k},{k % 3},{k}.5"),
        says=r"id holds whole numbers above 2\^53",
    ),
    "25-digit ids": Table(
        "t.csv",
        csv("id,a,price", lambda k: f"{10**24 + 10**20 * k + 1},{k % 3},{k}.5"),
        lambda path: pd.read_csv(path, dtype={"id": float}),
        says="id holds whole numbers above",
    ),
    "19-digit labels": Table(
        "t.csv",
        csv("a,b,id", lambda k: f"{k}.5,{k % 3},{9007199254740993 + 1001 * k}"),
        says=r"id.*holds whole numbers above 2\^53",
    ),
    "two 19-digit classes": Table(
        "t.csv",
        csv("a,b,id", lambda k: f"{k}.5,{k % 3},{9007199254740992 + k % 2}"),
        texts("id"),
        classes=True,
    ),
    "leading zeros": Table("t.csv", csv("zip,price", lambda k: f"0{k % 7}234,{k}.5")),
    "very small": Table(
        "t.csv", csv("a,b,price", lambda k: f"{k}e-300,{k}e-400,{k}.5")
    ),
    "hexadecimal and underscores": Table(
        "t.csv",
        csv("hex,part,price", lambda k: f"0x{k % 4}F,{k % 3}_0,{k}.5"),
        texts("hex", "part"),
    ),
    "labels with underscores": Table(
        "t.csv",
        csv("a,part", lambda k: f"{k}.5,{1 + k % 3}_0"),
        texts("part"),
        classes=True,
    ),
    "labels with zeros, as classes": Table(
        "t.csv",
        csv("a,zip", lambda k: f"{k}.5,0{k % 3}7"),
        flags=("--task", "multiclass"),
        classes=True,
    ),
    "labels 1.0 and 2.0, as classes": Table(
        "t.csv",
        csv("a,group", lambda k: f"{k}.5,{1 + k % 2}.0"),
        lambda path: pd.read_csv(path).astype({"group": int}).astype({"group": str}),
        flags=("--task", "binary"),
        classes=True,
    ),
    "thousands in quotes": Table(
        "t.csv",
        csv("a,b,price", lambda k: f'"{1000 + 37 * k:,}",{k},{k}.5'),
        {"thousands": ","},
        flags=("--thousands", ","),
    ),
    "decimal commas and thousands": Table(
        "t.csv",
        csv("a;b;price", lambda k: f"1.{100 + k},5;{k};{k},5"),
        {"sep": ";", "decimal": ",", "thousands": "."},
        flags=("--thousands", "."),
    ),
    "whole numbers, then reals": Table(
        "t.csv", csv("a,b,price", lambda k: f"{k if k < 10 else k / 8},{k % 3},{k}.5")
    ),
    # texts
    "texts of booleans": Table(
        "t.csv",
        csv("a,b,c,price", lambda k: f"{k % 2 > 0},{'TF'[k % 2]},{k % 2},{k}.5"),
        texts("a"),
    ),
    "labels true and false": Table(
        "t.csv",
        csv("a,bought", lambda k: f"{k}.5,{['true', 'false'][k % 2]}"),
        texts("bought"),
        classes=True,
    ),
    "labels 0 and 1": Table(
        "t.csv",
        csv("a,bought", lambda k: f"{k}.5,{k % 2}"),
        texts("bought"),
        classes=True,
        says="bought holds 2 whole numbers, taken as classes",
    ),
    "labels of formulas": Table(
        "t.csv",
        written(with_names("a")[["a"]].assign(rule=["=1+1", "@x", "-", "+"] * 5)),
        classes=True,
    ),
    "numbers and texts in a column": Table(
        "t.csv",
        csv("a,b,price", lambda k: f"{'none' if k == 17 else k % 4},{k},{k}.5"),
        texts("a"),
        says="a .*(row 18|none)",
    ),
    "1,000 categories": Table(
        "t.csv",
        csv("a,kind,price", lambda k: f"{k}.5,k{order_of(1250)[k] % 1000},{k}", 1250),
    ),
    "a cell of 10 MB": Table(
        "t.csv",
        written(N[["size", "kind"]].assign(note="x", price=N.price))
        + b'1.5,red,"'
        + b"long\n, text" * (10 * MIB // 11)
        + b'",2.5\n',
        lambda path: pd.read_csv(path).drop(columns="note"),
        flags=("--drop-column", "note"),
    ),
    "percent and currency signs": Table(
        "t.csv", csv("rate,cost,price", lambda k: f"{k % 4}%,${k % 3},{k}.5")
    ),
    "formulas": Table("t.csv", written(with_column("a", ["=1+1", "+1", "@SUM(A1)"]))),
    # columns
    "10,000 columns": Table("t.csv", wide(), flags=("--lr", "1e-7")),
    "a header longer than a MiB": Table(
        "t.csv",
        wide(1500, "column number {k:04} " + 800 * "x"),
        flags=("--lr", "1e-6"),
    ),
    "a category of a test row": Table(
        "t.csv",
        written(N.assign(kind=[f"k{order}" for order in order_of(40)])),
        says="8 texts of test rows are in no training row",
    ),
    "a constant column": Table("t.csv", written(with_column("a", [3.5]))),
    "a constant text": Table("t.csv", written(with_column("a", ["same"]))),
    "an empty column, dropped": Table(
        "t.csv",
        written(with_column("a", [None])),
        lambda path: pd.read_csv(path).drop(columns="a"),
        flags=("--drop-column", "a"),
    ),
    "missing numbers and texts, median": Table(
        "t.csv",
        written(with_column("a", [None, 2.5, 3]).replace("red", None)),
        missing="median",
    ),
    "missing, with an indicator": Table(
        "t.csv",
        written(with_column("a", [None, 2.5, 3]).replace("red", None)),
        missing="indicator",
    ),
    "missing, in pandas's words": Table(
        "t.csv",
        written(
            with_column("a", ["n/a", 1, "<NA>", 2.5, "-nan", "NULL", "#N/A", 4, "nan"])
        ),
        missing="mean",
    ),
    "cells of spaces": Table(
        "t.csv",
        csv("a,b,price", lambda k: f"{' ' if k % 6 == 2 else k},{k % 3},{k}.5"),
        {"na_values": [" "]},
        missing="mean",
    ),
    # dates
    "dates": Table(
        "t.csv",
        written(days().assign(day=days().day.dt.date)),
        {"parse_dates": ["day"]},
    ),
    "times": Table("t.csv", written(days()), {"parse_dates": ["day"]}),
    "dates and times": Table(
        "t.csv",
        csv(
            "day,price",
            lambda k: f"2020-02-{k + 1:02}{' 12:30:00' if k % 2 else ''},{k}.5",
        ),
        lambda path: pd.read_csv(path).assign(
            day=lambda t: pd.to_datetime(t.day, format="ISO8601")
        ),
    ),
    "times with zones": Table(
        "t.csv",
        csv("day,price", lambda k: f"2020-02-{k + 1:02}T12:30:00Z,{k}.5"),
        {"parse_dates": ["day"]},
    ),
    "times with parts of seconds": Table(
        "t.csv",
        csv("day,price", lambda k: f"2020-02-{k + 1:02} 12:30:00.{k:03},{k}.5"),
        {"parse_dates": ["day"]},
    ),
    "dates with missing cells": Table(
        "t.csv",
        written(
            days().assign(day=days().day.dt.date.where(days().index % 5 != 1, None))
        ),
        {"parse_dates": ["day"]},
        missing="mean",
    ),
    "dates d/m/Y": Table(
        "t.csv",
        csv("day,price", lambda k: f"{1 + k}/02/2020,{k}.5"),
        {"parse_dates": ["day"], "dayfirst": True},
        flags=("--date", "day=%d/%m/%Y"),
    ),
    "times of day": Table(
        "t.csv",
        csv("at,price", lambda k: f"{8 + k % 3:02}:30,{k}.5"),
        texts("at"),
    ),
    "dates of no calendar": Table(
        "t.csv",
        csv("day,price", lambda k: f"2020-02-{28 + k % 3},{k}.5"),
        texts("day"),
    ),
    # Parquet and Arrow
    "Parquet": Table("t.parquet", parquet_of(N)),
    "Parquet, a row in a group": Table("t.parquet", parquet_of(N, row_group_size=1)),
    "Parquet, dictionaries": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                kind=pa.array(list("xyz") * 8).dictionary_encode(),
                code=pa.array([30, 10, 20] * 8).dictionary_encode(),
            )
        ),
        lambda path: pd.read_parquet(path).astype({"kind": str, "code": int}),
    ),
    "Parquet, decimals": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                a=pa.array(np.arange(24)).cast(pa.decimal128(28, 3)),
                b=pa.array(np.arange(24) % 5).cast(pa.decimal256(50, 9)),
            )
        ),
        lambda path: pd.read_parquet(path).astype({"a": float, "b": float}),
    ),
    "Parquet, booleans": Table(
        "t.parquet", parquet_of(arrow_columns(a=pa.array([True, False, False] * 8)))
    ),
    "Parquet, short floats": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                half=pa.array(np.arange(24).astype(np.float16)),
                single=pa.array((np.arange(24) / 3).astype(np.float32)),
            )
        ),
    ),
    "Parquet, large texts and views": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                large=pa.array(list("xyz") * 8, pa.large_string()),
                view=pa.array(list("ab") * 12, pa.string_view()),
            )
        ),
    ),
    "Parquet, bytes that are texts": Table(
        "t.parquet",
        parquet_of(arrow_columns(a=pa.array([b"x", b"yz"] * 12))),
        lambda path: pd.read_parquet(path).assign(a=["x", "yz"] * 12),
    ),
    "Parquet, zones": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                at=pa.array(
                    pd.date_range("2020-03-29", periods=24, freq="37min"),
                    pa.timestamp("ns", "Europe/Berlin"),
                )
            )
        ),
        lambda path: pd.read_parquet(path).assign(
            at=lambda t: t["at"].dt.tz_convert(None)
        ),
    ),
    "Parquet, dates and times of day": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                day=pa.array(np.arange(24) - 9, pa.int32()).cast(pa.date32()),
                at=pa.array(np.arange(24) % 3 * 60, pa.int32()).cast(pa.time32("s")),
            )
        ),
        lambda path: pd.read_parquet(path).astype({"day": "datetime64[s]", "at": str}),
    ),
    "Parquet, 2^53 and more": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                a=pa.array(2**53 + np.arange(24)),
                b=pa.array([2**64 - 1 - k for k in range(24)], pa.uint64()),
            )
        ),
        says="a holds whole numbers above",
    ),
    "Parquet, missing": Table(
        "t.parquet",
        parquet_of(
            arrow_columns(
                a=pa.array([1, None, 3] * 8), b=pa.array(["x", "y", None, "x"] * 6)
            )
        ),
        missing="most-frequent",
    ),
    "Parquet, an index of pandas": Table(
        "t.parquet",
        lambda path: N.sort_values("size").to_parquet(path),
        lambda path: pd.read_parquet(path).reset_index(drop=True),
    ),
    "Parquet, labels of booleans": Table(
        "t.parquet",
        parquet_of(pa.table({"a": np.arange(20) / 7, "b": [True, False] * 10})),
        lambda path: pd.read_parquet(path).assign(b=["true", "false"] * 10),
        classes=True,
    ),
    "Arrow": Table("t.arrow", arrow_of(batches(N)), read_arrow),
    "Arrow, empty batches": Table(
        "t.feather", arrow_of(batches_with_empty_ones()), read_arrow
    ),
    "Arrow, compressed": Table(
        "t.ipc", arrow_of(batches(N), compression="zstd"), read_arrow
    ),
    "Arrow, dictionaries that differ": Table(
        "t.arrow",
        arrow_of(
            [
                pa.record_batch(
                    {
                        "kind": pa.array(list(letters) * 5).dictionary_encode(),
                        "price": np.arange(10) + 0.5,
                    }
                )
                for letters in ("xy", "xy")
            ]
        ),
        lambda path: read_arrow(path).astype({"kind": str}),
    ),
}


def fifo(path: Path) -> None:
    """Make a pipe; who opens it waits for a second, and finds it empty then."""
    os.mkfifo(path)

    def let_go() -> None:
        for _ in range(10):
            time.sleep(1)
            with contextlib.suppress(OSError):  # nobody has opened it, or it is gone
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    threading.Thread(target=let_go, daemon=True).start()


def broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone.csv"))


def unreadable(path: Path) -> None:
    """Make a file whose bytes the system refuses, even to root."""
    path.symlink_to("/proc/self/mem")


def header_of_npy(shape: str) -> bytes:
    """Return an NPZ file whose array X declares a shape, and holds next to nothing."""
    target = io.BytesIO()
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117)
    with zipfile.ZipFile(target, "w") as file:
        body = b"\x93NUMPY\1\0" + len(text + "\n").to_bytes(2, "little")
        file.writestr("X.npy", body + text.encode() + b"\n" + 80 * b"\0")
        y = io.BytesIO()
        np.save(y, np.zeros(10))
        file.writestr("y.npy", y.getvalue())
    return target.getvalue()


def stream_of(table: pa.Table) -> bytes:
    target = io.BytesIO()
    with pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(table)
    return target.getvalue()


LATE = 2_000  # a row far behind the first block
X, Y = np.arange(40.0).reshape(20, 2), np.arange(20.0)
REFUSED: dict[str, NoTable] = {
    # no text, or no table
    "UTF-16": NoTable("t.csv", written(N, encoding="utf-16"), ("UTF-16", "UTF-8")),
    "UTF-16 without a mark": NoTable(
        "t.csv", written(N, encoding="utf-16-le"), ("zero bytes|UTF-16",)
    ),
    "UTF-32": NoTable("t.csv", written(N, encoding="utf-32"), ("UTF-16|UTF-32",)),
    "an invalid byte late": NoTable(
        "t.csv", utf8_then_latin1(), ("row 39,?001", "note", "UTF-8|encoding")
    ),
    "a zero byte": NoTable("t.csv", b"a,b\n1,2\n\0,3\n", ("zero byte",)),
    "a zero byte late": NoTable("t.csv", zero_byte_late(), ("row", "note|zero byte")),
    "an empty file": NoTable("t.csv", b"", ("is empty",)),
    "only a byte order mark": NoTable("t.csv", b"\xef\xbb\xbf", ("is empty",)),
    "only blank lines": NoTable("t.csv", b"\n \n\t\n", ("is empty",)),
    "a header only": NoTable("t.csv", b"a,b,price\n", ("no rows",)),
    "a header without line end": NoTable("t.csv", b"a,b,price", ("no rows",)),
    "one column": NoTable("t.csv", b"price\n1.5\n2.5\n", ("(no column|none) is left",)),
    "numbers first": NoTable("t.csv", b"1.5,2\n3,4\n", ("line 1", "--no-header")),
    "comments first": NoTable(
        "t.csv", b"# of 2020\n# by us\n" + written(N), ("row 2|line [13]|# of 2020",)
    ),
    "Parquet named .csv": NoTable("t.csv", parquet_of(N), ("zero byte|Parquet",)),
    "CSV named .parquet": NoTable("t.parquet", written(N), ("no Parquet file",)),
    "CSV named .arrow": NoTable("t.arrow", written(N), ("no Arrow file",)),
    "CSV named .csv.gz": NoTable("t.csv.gz", written(N), ("decompressed",)),
    "gzip, truncated": NoTable(
        "t.csv.gz", gzip.compress(written(sizes(900)))[:-900], ("decompressed",)
    ),
    "gzip, damaged": NoTable(
        "t.csv.gz", gzip.compress(written(N))[:-6] + b"\0\0\0\0\0\0", ("decompressed",)
    ),
    "gzip of nothing": NoTable("t.csv.gz", gzip.compress(b""), ("is empty",)),
    "a spreadsheet": NoTable("t.xlsx", zipped(written(N)), ("(?i)csv",)),
    "Python's pickles": NoTable("t.pkl", pickle.dumps(N), ("(?i)csv",)),
    # the file system
    "a folder": NoTable(
        "t.csv", Path.mkdir, ("no file|folder|directory|no data file",)
    ),
    "a broken link": NoTable("t.csv", broken_link, ("does not exist|No such file",)),
    "a pipe": NoTable("t.csv", fifo, ("is no file|regular|pipe",)),
    "unreadable": NoTable("t.csv", unreadable, ("cannot be read|Input/output",)),
    # names
    "two equal names": NoTable("t.csv", b"a,b,a\n1,2,3\n", ("two columns", "'a'")),
    "names equal but for spaces": NoTable(
        "t.csv", b"a, a,b\n1,2,3\n", ("two columns", "'a'")
    ),
    "an empty name like another": NoTable(
        "t.csv", b"column 2,,b\n1,2,3\n", ("two columns", "'column 2'")
    ),
    "two equal names with escapes": NoTable(
        "t.csv", f"{ESCAPE},b,{ESCAPE}\n1,2,3\n".encode(), ("two columns",)
    ),
    # rows
    "a short row": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else "1,2"),
        ("row 8", "2 cells", "3"),
    ),
    "a long row": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else "1,2,3,4"),
        ("row 8", "4 cells", "3"),
    ),
    "a short row behind blank lines": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "\n\n1,2,3" if k != 7 else "1,2"),
        ("row 8", "2 cells"),
    ),
    "a short row behind quoted line breaks": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: '1,"2\n\n",3' if k != 7 else "1,2"),
        ("row 8", "2 cells"),
    ),
    "all rows end with a separator": NoTable(
        "t.csv", csv("a,b", lambda k: f"{k},{k}.5,"), ("row 1", "3 cells")
    ),
    "a quote that is not closed": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else '1,"2,3'),
        ("row 8", "quote", "never closed"),
    ),
    "a quote behind a backslash": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: r'1,"x \" y",3'),
        ("row|quote",),
    ),
    "a quote closed rows later": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k not in (7, 12) else '1,"2,3'),
        ("row 8",),
    ),
    "a text in a row far behind": NoTable(
        "t.csv", text_after(LATE, "n.v."), (f"row {LATE - 2:,}|row {LATE - 2}", "a is")
    ),
    "5,000 categories": NoTable(
        "t.csv",
        csv("a,kind,price", lambda k: f"{k}.5,k{k},{k}", 5000),
        ("kind", "1,?000", "--drop-column"),
    ),
    # cells
    "a missing cell": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else "1,,3"),
        ("row 8", "b is missing", "--missing"),
    ),
    "a missing cell of a name with escapes": NoTable(
        "t.csv",
        csv(f"{ESCAPE},b,c", lambda k: "1,2,3" if k != 7 else ",2,3"),
        ("row 8", "is missing"),
    ),
    "a separator behind all lines": NoTable(
        "t.csv",
        csv("a,b,price,", lambda k: f"{k},1,{k}.5,"),
        (r"^(?!.*--drop-column).*column 4",),
    ),
    "an infinite cell": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else "1,-inf,3"),
        ("row 8", "b is -inf", "finite"),
    ),
    "1e400": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3" if k != 7 else "1,1e400,3"),
        ("row 8", "b is", "finite"),
    ),
    "numbers that have no squares": NoTable(
        "t.csv", csv("a,b,price", lambda k: f"{k},{k}e300,{k}.5"), (r"\bb\b", "large")
    ),
    "a missing cell of a name with a line break": NoTable(
        "t.csv",
        csv('"a\nb",c', lambda k: "1,3" if k != 7 else ",3"),
        ("row 8", "is missing"),
    ),
    "an infinite label": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3.5" if k != 7 else "1,2,inf"),
        ("row 8", "c, the label, is inf"),
    ),
    "labels missing": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3.5" if k != 7 else "1,2,"),
        ("row 8", "c, the label, is missing"),
    ),
    "labels missing, cells filled in": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: "1,2,3.5" if k != 7 else "1,2,"),
        ("row 8", "c, the label, is missing"),
        flags=("--missing", "mean"),
    ),
    "labels missing of a name with escapes": NoTable(
        "t.csv",
        csv(f"a,{ESCAPE}", lambda k: "1,2.5" if k != 7 else "1,"),
        ("row 8", "the label, is missing"),
    ),
    "all labels missing": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: f"{k},2,"),
        (r"^(?!.*--drop-column).*\bc\b.*missing",),
    ),
    "all labels missing, rows dropped": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: f"{k},2,"),
        ("(label )?c\\b", "missing"),
        flags=("--missing", "drop"),
    ),
    "one class among training rows": NoTable(
        "t.csv", written(only_test_rows_are()), ("kind", "'(yes|no)'")
    ),
    "one class": NoTable(
        "t.csv", csv("a,c", lambda k: f"{k},yes"), ("label c", "1 distinct")
    ),
    "texts as a regression": NoTable(
        "t.csv",
        csv("a,c", lambda k: f"{k},{k if k != 7 else 'seven'}"),
        ("c", "row 8", "seven"),
        flags=("--task", "regression"),
    ),
    "an empty column": NoTable(
        "t.csv", csv("a,b,c", lambda k: f"{k},,3.5"), ("b is missing in all rows",)
    ),
    "an empty column, cells filled in": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: f"{k},NA,3.5"),
        ("b is missing in all", "--drop-column 'b'"),
        flags=("--missing", "median"),
    ),
    "an empty column, rows dropped": NoTable(
        "t.csv",
        csv("a,b,c", lambda k: f"{k},NA,3.5"),
        ("b\\b", "missing"),
        flags=("--missing", "drop"),
    ),
    "a column that is empty among training rows": NoTable(
        "t.csv",
        csv(
            "a,b,c",
            lambda k: f"{k},{'' if order_of(20)[k] < 16 else 1},3",
        ),
        ("b is missing in all training rows",),
        flags=("--missing", "mean"),
    ),
    "a level that is none": NoTable(
        "t.csv",
        csv("a,cut,c", lambda k: f"{k},{'Good' if k != 7 else ESCAPE},3.5"),
        ("cut is", "--ordinal"),
        flags=("--ordinal", "cut=Fair<Good"),
    ),
    "a label that is no column": NoTable(
        "t.csv", written(N), ("'prise'", "did you mean price"), ("--label", "prise")
    ),
    "10,000 columns, a label that is none": NoTable(
        "t.csv", wide(), ("no column 'price'",), ("--label", "price")
    ),
    "a dropped label": NoTable(
        "t.csv", written(N), ("price is the label",), ("--drop-column", "price"), 2
    ),
    "a cell of 10 MB": NoTable(
        "t.csv",
        lambda path: path.write_bytes(
            csv("note,price", lambda k: f"{k % 3},{k}.5")
            + b"long text" * (10 * MIB // 9)
            + b",2.5\n"
        ),
        ("note", "row 21"),
    ),
    "a weight below zero": NoTable(
        "t.csv",
        csv("a,w,price", lambda k: f"{k},{k - 5},{k}.5"),
        ("row 1", "w, the weight, is -5"),
        ("--weight", "w"),
    ),
    "weights of zero": NoTable(
        "t.csv",
        csv("a,w,price", lambda k: f"{k},0,{k}.5"),
        ("w, the weight", "0"),
        ("--weight", "w"),
    ),
    "bytes that are no text of cp1252": NoTable(
        "t.csv",
        csv("a,kind,price", lambda k: f"{k},@,{k}.5")
        .replace(b"@", b"\x81", 9)
        .replace(b"@", b"\x8d"),
        ("row 1\\b", "kind", "--encoding"),
    ),
    "bytes that are no text of an encoding": NoTable(
        "t.csv",
        written(with_column("a", ["ä", "ö"])),
        ("row 1\\b", "a is", "ascii"),
        ("--encoding", "ascii"),
    ),
    "an encoding of no texts": NoTable(
        "t.csv", written(N), ("--encoding", "base64"), ("--encoding", "base64"), 2
    ),
    # a file of test rows
    "test rows: none": NoTable(
        *("t.csv", written(N), ("no rows",), ("--test", "b.csv")),
        others={"b.csv": b"size,kind,price\n"},
        blamed="b.csv",
    ),
    "test rows: a text among numbers": NoTable(
        *("t.csv", written(N), ("row 3", "size is 'x'"), ("--test", "b.csv")),
        others={"b.csv": written(N.assign(size=["1", "2", "x", "4"] * 10))},
        blamed="b.csv",
    ),
    "test rows: a class of their own": NoTable(
        *("t.csv", written(N[["size", "kind"]]), ("kind, the label, is 'pink'",)),
        ("--test", "b.csv"),
        others={"b.csv": written(N[["size"]].assign(kind="pink"))},
        blamed="b.csv",
    ),
    "test rows: a column too few": NoTable(
        *("t.csv", written(N), ("'kind'",), ("--test", "b.csv")),
        others={"b.csv": written(N[["size", "price"]])},
        blamed="b.csv",
    ),
    "test rows: a short row": NoTable(
        *("t.csv", written(N), ("row 41", "2 cells"), ("--test", "b.csv")),
        others={"b.csv": written(N) + b"1,2\n"},
        blamed="b.csv",
    ),
    # Parquet and Arrow
    "Parquet, no rows": NoTable("t.parquet", parquet_of(N[:0]), ("no rows",)),
    "Parquet, no columns": NoTable(
        "t.parquet", parquet_of(pa.table({})), ("no column|no rows",)
    ),
    "Parquet, truncated": NoTable("t.parquet", parquet_of(N)[:-99], ("Parquet",)),
    "Parquet, damaged": NoTable(
        "t.parquet",
        parquet_of(N, compression="zstd", use_dictionary=False)[:40]
        + 60 * b"\xff"
        + parquet_of(N, compression="zstd", use_dictionary=False)[100:],
        ("row group 0|Parquet",),
    ),
    "Parquet, lists": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(tags=pa.array([[1, 2]] * 24))),
        ("tags'? holds list", "--drop-column 'tags'"),
    ),
    "Parquet, structures": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(tags=pa.array([{"a": 1}] * 24))),
        ("tags'? holds struct", "--drop-column 'tags'"),
    ),
    "Parquet, a label of lists": NoTable(
        "t.parquet",
        parquet_of(pa.table({"a": pa.array([1.5, 2]), "b": pa.array([[1], [2]])})),
        ("b'? holds list",),
    ),
    "Parquet, two equal names": NoTable(
        "t.parquet",
        parquet_of(pa.table([pa.array([1.0] * 5)] * 3, names=["a", "a", "price"])),
        ("two columns", "'a'"),
    ),
    "Parquet, durations": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(took=pa.array(range(24), pa.duration("s")))),
        ("took",),
    ),
    "Parquet, bytes that are no texts": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(raw=pa.array([b"x", b"\xff\xfe"] * 12))),
        ("raw",),
    ),
    "Parquet, a column of nulls": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(a=pa.nulls(24))),
        ("a is missing in all rows",),
    ),
    "Parquet, an infinite number": NoTable(
        "t.parquet",
        parquet_of(arrow_columns(a=pa.array([1.0, 2, np.inf] * 8)), row_group_size=2),
        ("row 3", "a is inf"),
    ),
    "Parquet, NaN": NoTable(
        "t.parquet",
        parquet_of(
            arrow_columns(a=pa.array([1.0, 2, 3, 4, np.nan] + 19 * [1.0])),
            row_group_size=2,
        ),
        ("row 5", "a is missing"),
    ),
    "Arrow, a stream": NoTable("t.arrow", stream_of(as_arrow(N)), ("no Arrow file",)),
    "Arrow, truncated": NoTable(
        "t.arrow", arrow_of(batches(N))[:-50], ("Arrow|record batch",)
    ),
    "Arrow, two equal names": NoTable(
        "t.arrow",
        arrow_of(
            [pa.record_batch([pa.array([1.0, 2])] * 3, names=["a", "a", "price"])]
        ),
        ("two columns", "'a'"),
    ),
    "Arrow, no batches": NoTable(
        "t.arrow", arrow_of([], as_arrow(N).schema), ("no rows",)
    ),
    "Arrow, an empty file": NoTable("t.arrow", b"", ("no Arrow file",)),
    # arrays
    "NPZ, pickles": NoTable(
        "t.npz", npz_of(X=np.array([[{}]] * 4, object), y=Y[:4]), ("Object arrays",)
    ),
    "NPZ, 0-d": NoTable("t.npz", npz_of(X=np.float64(3), y=np.float64(2)), ("X is",)),
    "NPZ, lengths": NoTable("t.npz", npz_of(X=X, y=Y[:-1]), ("X is", "y is")),
    "NPZ, three dimensions": NoTable("t.npz", npz_of(X=X[None], y=Y), ("X is",)),
    "NPZ, complex": NoTable("t.npz", npz_of(X=X * 1j, y=Y), ("X is complex",)),
    "NPZ, structures": NoTable(
        "t.npz", npz_of(X=np.zeros(20, [("a", "f8")]), y=Y), ("X is",)
    ),
    "NPZ, NaN": NoTable(
        "t.npz",
        npz_of(X=np.where(X == 15, np.nan, X), y=Y),
        (r"row 8|X\[7, 1\]", "nan|finite|missing"),
    ),
    "NPZ, an infinite label": NoTable(
        "t.npz", npz_of(X=X, y=np.where(Y == 7, np.inf, Y)), ("row 8", "inf|finite")
    ),
    "NPZ, complex labels": NoTable("t.npz", npz_of(X=X, y=Y * 1j), ("y",)),
    "NPZ, labels that are dates": NoTable(
        "t.npz", npz_of(X=X, y=Y.astype("datetime64[D]")), ("y",)
    ),
    "NPZ, no rows": NoTable("t.npz", npz_of(X=X[:0], y=Y[:0]), ("no rows|n from 1",)),
    "NPZ, no columns": NoTable("t.npz", npz_of(X=X[:, :0], y=Y), ("no features|X is",)),
    "NPZ, one class": NoTable(
        "t.npz", npz_of(X=X, y=np.zeros(20, int)), ("1 distinct",)
    ),
    "NPZ, no y": NoTable("t.npz", npz_of(X=X), ("no targets",)),
    "NPZ, a shape of 10^12 rows": NoTable(
        "t.npz", header_of_npy("(1000000000000, 8)"), ("NPZ",)
    ),
    "NPZ, no zip": NoTable("t.npz", b"PK\3\4 no zip", ("NPZ",)),
    "NPZ, truncated": NoTable("t.npz", npz_of(X=X, y=Y)[:-100], ("NPZ",)),
    "NPZ, a text inside": NoTable(
        "t.npz", npz_of(X=np.array([["1", "x"]] * 20), y=Y), ("X is <U",)
    ),
    "svmlight, words": NoTable(
        "t.svm", b"1 1:2\n2 a:b\n", ("svmlight", "line 2|row 2")
    ),
    "svmlight, NaN": NoTable(
        "t.svm",
        b"".join(
            b"%d.5 1:%d 2:%s\n" % (k, k, b"nan" if k == 7 else b"1") for k in range(20)
        ),
        ("row 8", "nan|finite"),
    ),
    "svmlight, no columns": NoTable("t.svm", b"1\n2\n3\n", ("no features",)),
    "svmlight, an index of 10^10": NoTable(
        "t.svm", b"1.5 1:2\n2.5 10000000000:3\n", ("svmlight|columns|features|index",)
    ),
    "svmlight, an empty file": NoTable("t.svm", b"", ("no features|no rows|svmlight",)),
}


@dataclass(frozen=True)
class Arrays:
    """A file of numbers without names: X (n, d) and y (n,) as numpy has them.

    content   its bytes
    later     the bytes of a file to predict from, whose rows are those of later_X
    """

    file: str
    content: bytes
    X: Any
    y: Any
    later: bytes | None = None
    later_X: Any = None
    later_file: str | None = None
    flags: tuple[str, ...] = ()


def svmlight_of(X: Any, y: Any, first: int = 1) -> bytes:
    """Return the lines of an svmlight file, without the zeros of X."""
    lines = []
    for cells, label in zip(X, y):
        pairs = [f"{k + first}:{cell}" for k, cell in enumerate(cells) if cell]
        lines.append(" ".join([str(label), *pairs]))
    return ("\n".join(lines) + "\n").encode()


def sparse_npz_of(X: Any) -> bytes:
    target = io.BytesIO()
    sparse.save_npz(target, sparse.csr_matrix(X))
    return target.getvalue()


DENSE = np.random.default_rng(4).normal(size=(40, 3)).round(3)
GAPS = np.where(np.random.default_rng(5).random((40, 5)) < 0.5, 0, 1) * np.arange(
    1.0, 6
)
GAPS[0] = np.arange(1.0, 6)
SLOPE = DENSE @ [1.0, -2, 3] + 0.125
SIGN = np.where(np.arange(40) % 3 == 0, -1, 1)
ARRAYS: dict[str, Arrays] = {
    "NPZ": Arrays("t.npz", npz_of(X=DENSE, y=SLOPE), DENSE, SLOPE),
    "NPZ, other arrays beside them": Arrays(
        "t.npz", npz_of(X=DENSE, y=SLOPE, notes=np.array("x")), DENSE, SLOPE
    ),
    "NPZ, no y later": Arrays(
        *("t.npz", npz_of(X=DENSE, y=SLOPE), DENSE, SLOPE),
        later=npz_of(X=DENSE[::2]),
        later_X=DENSE[::2],
    ),
    "NPZ, compressed float32": Arrays(
        "t.npz",
        npz_of(X=DENSE.astype(np.float32), y=SLOPE),
        DENSE.astype(np.float32),
        SLOPE,
    ),
    "NPZ, big-endian columns": Arrays(
        "t.npz", npz_of(X=np.asfortranarray(DENSE.astype(">f8")), y=SLOPE), DENSE, SLOPE
    ),
    "NPZ, booleans": Arrays("t.npz", npz_of(X=DENSE > 0, y=SLOPE), DENSE > 0, SLOPE),
    "NPZ, labels of texts": Arrays(
        "t.npz",
        npz_of(X=DENSE, y=np.where(SIGN > 0, "größer", "<b>")),
        DENSE,
        np.where(SIGN > 0, "größer", "<b>"),
    ),
    "NPZ, one class later": Arrays(
        *("t.npz", npz_of(X=DENSE, y=SIGN), DENSE, SIGN),
        later=npz_of(X=DENSE[:5], y=SIGN[:5] * 0 + 1),
        later_X=DENSE[:5],
    ),
    "NPZ of scipy later": Arrays(
        *("t.svm", svmlight_of(GAPS, SIGN), GAPS, SIGN),
        later=sparse_npz_of(GAPS),
        later_X=GAPS,
        later_file="later.npz",
    ),
    "svmlight": Arrays("t.svm", svmlight_of(GAPS, SIGN), GAPS, SIGN),
    "svmlight, from 0 on": Arrays("t.svm", svmlight_of(GAPS, SIGN, 0), GAPS, SIGN),
    "svmlight, comments and queries": Arrays(
        "t.svm",
        b"# made by hand\n"
        + svmlight_of(GAPS, SIGN)
        .replace(b" 1:", b" qid:7 1:")
        .replace(b"\n", b" # x\n"),
        GAPS,
        SIGN,
    ),
    "svmlight, CRLF and gzip": Arrays(
        "t.svm.gz",
        gzip.compress(svmlight_of(GAPS, SLOPE).replace(b"\n", b"\r\n")),
        GAPS,
        SLOPE,
    ),
    "svmlight, fewer columns later": Arrays(
        *("t.svm", svmlight_of(GAPS, SIGN), GAPS, SIGN),
        later=svmlight_of(GAPS[:, :3], SIGN),
        later_X=GAPS * [1, 1, 1, 0, 0],
    ),
    "svmlight, one class later": Arrays(
        *("t.svm", svmlight_of(GAPS, SIGN), GAPS, SIGN),
        later=svmlight_of(GAPS, SIGN * 0),
        later_X=GAPS,
    ),
}


@dataclass(frozen=True)
class Later:
    """A file to predict from, or to evaluate, with a model of `goods`.

    content   its bytes
    goods     the table that it holds, for predictions; None where it is refused
    says      patterns that the message must hold, apart from the name of the file
    evaluate  whether its labels are needed
    """

    content: bytes
    goods: pd.DataFrame | None = None
    says: tuple[str, ...] = ()
    file: str = "later.csv"
    evaluate: bool = False
    flags: tuple[str, ...] = ()


def goods(n: int = 30, seed: int = 6) -> pd.DataFrame:
    """Return a table of all kinds of columns; the last one holds two classes."""
    draw = np.random.default_rng(seed)
    size = draw.normal(size=n).round(3)
    return pd.DataFrame(
        {
            "size": size,
            "count": draw.integers(0, 9, n),
            "kind": draw.choice(["red", "green", "a,b"], n),
            "sold": draw.choice(["true", "false"], n),
            "day": pd.Series(pd.date_range("2020-01-01", periods=n)).dt.date,
            "grade": draw.choice(["Low", "Mid", "High"], n),
            "bought": np.where(size > 0, "yes", "no"),
        }
    )


GOODS_FLAGS = ("--ordinal", "grade=Low<Mid<High")
G = goods()
NEW = G.drop(columns="bought")[3:20].reset_index(drop=True)


def cell(column: str, value: Any, row: int = 5) -> bytes:
    """Return a new table as CSV in which one cell holds something else."""
    table = NEW.astype(object)
    table.loc[row, column] = value
    return written(table)


def typed(**columns: Any) -> pa.Table:
    """Return the new table as an Arrow table, some columns of other types."""
    table = as_arrow(NEW)
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


LATER: dict[str, Later] = {
    "in the same order": Later(written(NEW), NEW),
    "columns in another order": Later(written(NEW[sorted(NEW)]), NEW),
    "with the label": Later(written(G), G),
    "a label that is no class": Later(written(G.assign(bought="maybe")), G),
    "labels missing": Later(written(G.assign(bought=None)), G),
    "fewer categories": Later(written(NEW[NEW.kind == "red"]), NEW[NEW.kind == "red"]),
    "one row": Later(written(NEW[:1]), NEW[:1]),
    "byte order mark, semicolons, decimal commas": Later(
        written(NEW, sep=";", decimal=",", encoding="utf-8-sig"), NEW
    ),
    "all cells quoted, CRLF": Later(
        written(NEW, quoting=1, lineterminator="\r\n"), NEW
    ),
    "spaces around all cells": Later(
        written(NEW[NEW.kind != "a,b"]).replace(b",", b" , "), NEW[NEW.kind != "a,b"]
    ),
    "whole numbers as reals": Later(written(NEW.assign(count=NEW["count"] + 0.0)), NEW),
    "dates as times": Later(
        written(NEW.assign(day=NEW.day.map(lambda day: f"{day} 00:00:00"))), NEW
    ),
    "dates as times with zones": Later(
        written(NEW.assign(day=NEW.day.map(lambda day: f"{day}T00:00:00Z"))), NEW
    ),
    "Parquet": Later(parquet_of(NEW), NEW, file="later.parquet"),
    "Parquet, small types": Later(
        parquet_of(
            typed(
                count=pa.array(NEW["count"], pa.uint8()),
                kind=pa.array(NEW["kind"]).dictionary_encode(),
                sold=pa.array(NEW["sold"] == "true"),
                day=pa.array(NEW["day"]).cast(pa.timestamp("ns")),
                grade=pa.array(NEW["grade"], pa.large_string()),
            ),
            row_group_size=4,
        ),
        NEW,
        file="later.parquet",
    ),
    "Parquet, numbers as texts": Later(
        parquet_of(typed(count=pa.array(NEW["count"].astype(str)))),
        NEW,
        file="later.parquet",
    ),
    "Arrow": Later(arrow_of(batches(NEW)), NEW, file="later.arrow"),
    "booleans as Python writes them": Later(
        written(NEW.assign(sold=NEW.sold.str.capitalize())), NEW
    ),
    "a column that is unknown, dropped": Later(
        written(NEW.assign(more=1)), NEW, flags=("--drop-column", "more")
    ),
    "a category that is unseen, ignored": Later(
        cell("kind", "blue"),
        NEW.assign(kind=NEW.kind.where(NEW.index != 5, "blue")),
        flags=("--unknown", "ignore"),
    ),
    "thousands": Later(
        written(NEW.assign(count=[f"{k:,}" for k in 999 + NEW.index])),
        NEW.assign(count=999 + NEW.index),
        flags=("--thousands", ","),
    ),
    "a separator of its own": Later(
        written(NEW, sep="^"), NEW, flags=("--separator", "^")
    ),
    "gzip": Later(gzip.compress(written(NEW)), NEW, file="later.csv.gz"),
    # refused
    "a column that is missing": Later(
        written(NEW.drop(columns="kind")), says=("no column 'kind'",)
    ),
    "a column of another name": Later(
        written(NEW.rename(columns={"kind": "Kind"})),
        says=("no column 'kind'", "did you mean Kind"),
    ),
    "a column that is unknown": Later(
        written(NEW.assign(more=1)), says=("column 'more'",)
    ),
    "10,000 columns that are unknown": Later(
        written(NEW.join(pd.DataFrame(0, NEW.index, [f"c{k}" for k in range(10_000)]))),
        says=("column 'c0'", "and 9999 more"),
    ),
    "10,000 columns, none of them right": Later(
        ",".join(f"c{k}" for k in range(10_000)).encode() + b"\n",
        says=("no column 'size'",),
    ),
    "an unknown column with escapes": Later(
        written(NEW.assign(**{ESCAPE: 1})), says=("column",)
    ),
    "a missing column beside escapes": Later(
        written(NEW.rename(columns={"kind": ESCAPE})), says=("no column 'kind'",)
    ),
    "a category that is unseen": Later(
        cell("kind", "blue"), says=("row 6", "kind is 'blue'", "expected one of")
    ),
    "a category with escapes": Later(
        cell("kind", ESCAPE), says=("row 6", "kind is", "expected one of")
    ),
    "a category of 10,000 letters": Later(
        cell("kind", "x" * 10_000), says=("row 6", "kind is 'xxx", "expected one of")
    ),
    "a level that is unseen": Later(
        cell("grade", "low"), says=("row 6", "grade is 'low'", "Low, Mid, High")
    ),
    "a number that is a text": Later(
        cell("size", "small"), says=("row 6", "size is 'small'", "expected a number")
    ),
    "a number of 10,000 letters": Later(
        cell("size", "x" * 10_000), says=("row 6", "size is 'xxx", "expected a number")
    ),
    "a number with escapes": Later(
        cell("size", ESCAPE), says=("row 6", "size is", "expected a number")
    ),
    "a number that is infinite": Later(
        cell("size", "inf"), says=("row 6", "size is inf", "finite")
    ),
    "a number that is a date": Later(
        written(NEW.assign(size="2020-01-01")),
        says=("row 1", "size is '?2020-01-01", "expected a number"),
    ),
    "numbers with thousands": Later(
        cell("size", "1,234.5"), says=("row 6", "size is '1,234.5'")
    ),
    "a date that is none": Later(
        cell("day", "2020-02-30"), says=("row 6", "day is '2020-02-30'", "a date")
    ),
    "a date in another order": Later(
        written(NEW.assign(day=NEW.day.map(lambda day: f"{day:%d/%m/%Y}"))),
        says=("row 1", "day is '04/01/2020'", "a date"),
    ),
    "a date that is a number": Later(
        written(NEW.assign(day=43_831)), says=("row 1", "day is 43831", "a date")
    ),
    "a missing number": Later(cell("size", None), says=("row 6", "size is missing")),
    "a missing category": Later(cell("kind", "NA"), says=("row 6", "kind is missing")),
    "a missing date": Later(cell("day", None), says=("row 6", "day is missing")),
    "all cells missing": Later(
        written(NEW.astype(object).where(NEW.isna(), None)),
        says=("row 1", "size is missing"),
    ),
    "no rows": Later(written(NEW[:0]), says=("no rows",)),
    "a short row": Later(written(NEW) + b"1,2,red\n", says=("row 18", "3 cells")),
    "columns twice": Later(
        written(pd.concat([NEW, NEW], axis=1)), says=("two columns", "'size'|'count'")
    ),
    "no names": Later(
        written(NEW[["size"]], header=False), says=("line 1|no column 'size'",)
    ),
    "UTF-16": Later(written(NEW, encoding="utf-16"), says=("UTF-16",)),
    "a structure": Later(
        parquet_of(typed(kind=pa.array([{"a": 1}] * len(NEW)))),
        says=("kind'? holds struct",),
        file="later.parquet",
    ),
    "a label that is missing, evaluated": Later(
        written(NEW), says=("no column 'bought'",), evaluate=True
    ),
    "labels that are missing, evaluated": Later(
        written(G.assign(bought=G.bought.where(G.index != 4, None))),
        says=("row 5", "bought, the label, is missing"),
        evaluate=True,
    ),
    "labels that are no class, evaluated": Later(
        written(G.assign(bought=G.bought.where(G.index != 4, "maybe"))),
        says=("row 5", "bought, the label, is 'maybe'", "no, yes"),
        evaluate=True,
    ),
}


# cells of a column that is read in a few blocks, or in one, and the same either way
IN_BLOCKS: dict[str, list[str]] = {
    "whole numbers, then reals": ["1", "2", "007", "2.5", "1e3"],
    "numbers, then texts": ["1", "2.0", "007", "x", "1e3"],
    "dates, then times": ["2020-01-01", "2020-01-02 10:00", "2020-01-03T11:12:13"],
    "dates, then texts": ["2020-01-01", "2020-01-02", "soon", "2020-01-02"],
    "dates, then numbers": ["2020-01-01", "2020-01-02", "20200103", "2020-01-02"],
    "very large whole numbers": ["1", str(2**63 - 1), str(2**64), "2.5"],
    "words of booleans": ["true", "false", "True", "0", "yes"],
    "quoted line breaks": ["a\nb", "\n", "a", "b\n\n", '"\n"'],
    "times of day, then texts": ["08:30", "09:15", "23:59:01", "noon"],
    "times with zones and without": ["2020-01-01 10:00:00", "2020-01-01T10:00:00Z"],
    "times that nanoseconds cannot hold": ["2020-01-01 10:00:00.25", "9999-12-31"],
    "hexadecimal, then reals": ["0x1F", "31", "2.5"],
}
# ids as they are in a table, and are to be in its predictions
IDS: dict[str, list[str]] = {
    "leading zeros": ["007", "012", "100"],
    "19 digits": ["9007199254740993", "9007199254740995"],
    "25 digits": [f"{10**24 + k}" for k in range(3)],
    "reals": ["1.0", "2.50", "3"],
    "dates": ["2020-01-01", "2020-01-02"],
    "dates and times": ["2020-01-01 00:00:00", "2020-01-02"],
    "times of day": ["08:30", "09:15"],
    "texts of all kinds": ["ä", "🌍", 'say "hi"', "one, two", "line\nbreak", "=1+1"],
    "words of booleans": ["true", "False"],
    "hexadecimal and exponents": ["0x1F", "1e5"],
}
