"""mpipgd data: make, import, look at and verify data files."""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.options import BUNDLED
from .base import ParallelCommand, Printer, complete_with
from .train import OPTIONS, add_flag

if TYPE_CHECKING:
    from ..comm.mpi import Comm

SYNTHETIC = ("regression", "classification", "blobs")
SYNTHETIC_OPTIONS = (
    "rows",
    "features",
    "classes",
    "noise",
    "informative",
    "density",
    "skew",
    "dtype",
)
CSV_OPTIONS = ("separator", "decimal", "thousands", "encoding", "header")
TABLE_OPTIONS = (  # those of `mpipgd train` on a table
    *("label", "task", "drop_column", "missing", "ordinal", "hash", "date"),
    *("date_parts", "test", "stratify", "group", "weight", *CSV_OPTIONS),
)
ALIASES = {"label": ("--target",), "drop_column": ("--drop",)}
IMPORT_OPTIONS = (
    *TABLE_OPTIONS,
    *("id_column", "x_name", "y_name", "labels_file", "version", "dtype"),
)


class DataCommand(ParallelCommand):
    """`mpipgd data make|import|info|check`: make, import, look at and verify data
    files.
    """

    name = "data"
    help = "make, import, show and check data files"

    @classmethod
    def configure(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the actions and their arguments."""
        subparsers = parser.add_subparsers(
            dest="action", required=True, metavar="ACTION"
        )
        for name, action in ACTIONS.items():
            subparser = subparsers.add_parser(
                name, help=action.help, description=action.help, allow_abbrev=False
            )
            action.add_arguments(subparser)

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def run(self, comm: "Comm", say: Printer) -> int:
        """Make, import, show or check; collective."""
        ACTIONS[self.args.action].run(self.args, comm, say)
        return 0


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--test-size", type=float, default=0.2, help="share of test rows (%(default)s)")
    add("--seed", type=int, default=0, help="seed of all drawing (%(default)s)")
    add("--shards", type=int, default=1, help="files to spread the rows over")
    add("--dtype", choices=("float32", "float64"), help="of the features")
    add("--overwrite", action="store_true", help="replace what OUT holds")


def _add_make_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    name = add("name", metavar="NAME", help="which set")
    complete_with(name, (*BUNDLED, *SYNTHETIC))
    add("out", metavar="OUT", help="a file, or a folder for shards")
    add("--rows", type=int, help="rows, train and test (10000)")
    add("--features", type=int, help="features (100)")
    add("--classes", type=int, help="classes (classification 2, blobs 3)")
    add("--noise", type=float, help="spread of y, share of wrong labels, or of blobs")
    add("--informative", type=int, help="how many features matter (all)")
    add("--density", type=float, help="make X sparse, with this share of values")
    add("--skew", type=float, help="columns of sparse X by frequency 1/rank^SKEW (0)")
    _add_common_arguments(parser)


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a file, also .gz, or openml:NAME")
    add("out", metavar="OUT", help="a file, or a folder for shards")
    add(
        "--kind",
        choices=("csv", "parquet", "arrow", "svmlight", "npz", "idx", "openml"),
        help="format of SOURCE (by its name)",
    )
    table = parser.add_argument_group("table: CSV, Parquet, Arrow")
    for option in TABLE_OPTIONS:
        add_flag(table, OPTIONS[option], *ALIASES.get(option, ()))
    table.add_argument(
        "--id",
        dest="id_column",
        metavar="COLUMN",
        help="the ids of the rows, kept for mpipgd predict --id",
    )
    add("--x-name", metavar="NAME", help="NPZ: array of features (X)")
    add("--y-name", metavar="NAME", help="NPZ: array of labels (y)")
    add(
        *("--labels-file", "--labels"),
        metavar="FILE",
        help="IDX, scipy's NPZ: file of labels (IDX: by the images' name)",
    )
    add("--version", help="OpenML: version of the set (active)")
    _add_common_arguments(parser)


def _add_info_arguments(parser: argparse.ArgumentParser) -> None:
    _add_check_arguments(parser)
    parser.add_argument("--all", action="store_true", help="list every feature")


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    files = add(
        "files",
        metavar="DATA",
        nargs="+",
        help="a file, a glob, a folder, a bundled set",
    )
    complete_with(files, BUNDLED)
    add("--x", metavar="PATH", help="dataset of features in other HDF5 files")
    add("--y", metavar="PATH", help="dataset of targets in other HDF5 files")


def _make(args: argparse.Namespace, comm: "Comm", say: Printer) -> None:
    from ..comm import mpi
    from ..data.create import example_table
    from ..data.create.make import make

    if args.name == example_table.NAME:
        rows = 2000 if args.rows is None else args.rows
        write = partial(
            example_table.write_example_table,
            args.out,
            rows=rows,
            seed=args.seed,
            overwrite=args.overwrite,
        )
        mpi.on_root(comm, write)
        say(f"{args.out}: {rows:,} rows × {len(example_table.COLUMNS)} columns")
        return
    make(
        comm,
        args.name,
        args.out,
        test_size=args.test_size,
        seed=args.seed,
        shards=args.shards,
        overwrite=args.overwrite,
        **_given(args, SYNTHETIC_OPTIONS),
    )
    _say_written(args, comm, say)


def _import(args: argparse.Namespace, comm: "Comm", say: Printer) -> None:
    from ..comm import mpi
    from ..data.create.ingest import ingest
    from ..data.create.roles import parse_column_options

    with mpi.raise_collectively(comm):
        options = parse_column_options(_given(args, IMPORT_OPTIONS))
    done = ingest(
        comm,
        args.source,
        args.out,
        kind=args.kind,
        test_size=args.test_size,
        seed=args.seed,
        shards=args.shards,
        overwrite=args.overwrite,
        quiet=False,
        **options,
    )
    for note in done.notes:
        say(f"notice: {note}")
    _say_written(args, comm, say)


def _info(args: argparse.Namespace, comm: "Comm", say: Printer) -> None:
    from ..comm import mpi
    from ..data.create.bundled import bundled_path
    from ..data.hdf5.describe import describe
    from ..reporting.progress import Progress

    for data in args.files:
        with bundled_path(comm, data) as path:
            lines = mpi.on_root(
                comm,
                partial(
                    describe,
                    path,
                    x=args.x,
                    y=args.y,
                    all_features=args.all,
                    progress=Progress,
                ),
            )
        say("\n".join(lines).replace(path, data))


def _check(args: argparse.Namespace, comm: "Comm", say: Printer) -> None:
    from ..comm import mpi
    from ..data.create.bundled import bundled_path
    from ..data.hdf5.describe import audit
    from ..data.hdf5.source import resolve, scan
    from ..errors import DataError

    bad_files = []
    for data in args.files:
        with bundled_path(comm, data) as path:
            files = mpi.on_root(comm, resolve, path)
            for file in files:
                name = str(file).replace(path, data)
                try:
                    audit(comm, file, x=args.x, y=args.y)
                    say(f"{name}  ok")
                except DataError as error:
                    say(str(error))
                    bad_files.append(name)
            if len(files) > 1 and not bad_files:
                mpi.on_root(comm, partial(scan, path, x=args.x, y=args.y))
    if bad_files:
        raise DataError(
            f"{len(bad_files)} unfit file(s): {', '.join(bad_files)}", agreed=True
        )


def _say_written(args: argparse.Namespace, comm: "Comm", say: Printer) -> None:
    from ..comm import mpi
    from ..data.hdf5.describe import one_line_summary
    from ..data.hdf5.source import scan

    line = mpi.on_root(comm, lambda: one_line_summary(scan(args.out)))
    say(f"{args.out}: {line}")


def _given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return those of some arguments that were given, by name."""
    values = {name: vars(args).get(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


class Action(NamedTuple):
    """What `mpipgd data` can do."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, "Comm", Printer], None]  # collective


ACTIONS = {
    "make": Action(
        "write a bundled set (digits, diabetes, breast_cancer, wine, iris), a "
        "synthetic one (regression, classification, blobs), or a CSV of houses",
        _add_make_arguments,
        _make,
    ),
    "import": Action(
        "import CSV, Parquet, Arrow, svmlight, NPZ, IDX images, or openml:NAME",
        _add_import_arguments,
        _import,
    ),
    "info": Action(
        "show task, shapes, classes, ranges, chunks and missing values",
        _add_info_arguments,
        _info,
    ),
    "check": Action(
        "read everything: checksums, finite values, class numbers, structure",
        _add_check_arguments,
        _check,
    ),
}
