"""`mpipgd data make|import|info|check`: make, import, look at and verify data files."""

from functools import partial

HELP = {
    "make": "write a bundled set (digits, diabetes, breast_cancer, wine, iris) or a "
    "synthetic one (regression, classification, blobs)",
    "import": "import CSV, svmlight, NPZ, IDX images, or openml:NAME",
    "info": "show task, shapes, classes, ranges, chunks and missing values",
    "check": "read everything: checksums, finite values, class numbers, structure",
}
MAKE_FIELDS = ("rows", "features", "classes", "noise", "informative", "density")
MAKE_FIELDS += ("skew",)
IMPORT_OPTIONS = ("task", "target", "ordinal", "drop", "missing", "header")
IMPORT_OPTIONS += ("x_name", "y_name", "labels", "version", "dtype")


def configure(parser):
    """Add the arguments of `mpipgd data` to a parser; imports nothing heavy."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = {"make": _make_arguments, "import": _import_arguments}
    for name, text in HELP.items():
        action = actions.add_parser(
            name, help=text, description=text, allow_abbrev=False
        )
        build.get(name, _look_arguments)(action)


def _common(parser):
    add = parser.add_argument
    add("--test-size", type=float, default=0.2, help="share of test rows (%(default)s)")
    add("--seed", type=int, default=0, help="seed of all drawing (%(default)s)")
    add("--shards", type=int, default=1, help="files to spread the rows over")
    add("--dtype", choices=("float32", "float64"), help="of the features")
    add("--overwrite", action="store_true", help="replace what OUT holds")


def _make_arguments(parser):
    add = parser.add_argument
    add("name", metavar="NAME", help="which set")
    add("out", metavar="OUT", help="a file, or a folder for shards")
    add("--rows", type=int, help="rows, train and test (10000)")
    add("--features", type=int, help="features (100)")
    add("--classes", type=int, help="classes (classification 2, blobs 3)")
    add("--noise", type=float, help="spread of y, share of wrong labels, or of blobs")
    add("--informative", type=int, help="how many features matter (all)")
    add("--density", type=float, help="make X sparse, with this share of values")
    add("--skew", type=float, help="columns of sparse X by frequency 1/rank^SKEW (0)")
    _common(parser)


def _import_arguments(parser):
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a file, also .gz, or openml:NAME")
    add("out", metavar="OUT", help="a file, or a folder for shards")
    add(
        "--kind",
        choices=("csv", "svmlight", "npz", "idx", "openml"),
        help="format of SOURCE (by its name)",
    )
    _task(add)
    _csv(add)
    add("--x-name", metavar="NAME", help="NPZ: array of features (X)")
    add("--y-name", metavar="NAME", help="NPZ: array of targets (y)")
    add("--labels", metavar="FILE", help="IDX: file of labels (by the images' name)")
    add("--version", help="OpenML: version of the set (active)")
    _common(parser)


def _task(add):
    text = (
        "what the target is (text and whole labels: classes; CSV numbers: regression)"
    )
    add("--task", choices=("regression", "binary", "multiclass"), help=text)


def _csv(add):
    add("--target", help="CSV: column to predict, by name or number (the last)")
    add(
        "--ordinal",
        action="append",
        metavar='"C=LOW<…<HIGH"',
        help="CSV: a column of ordered texts, made one number; repeatable",
    )
    add("--drop", action="append", metavar="COLUMN", help="CSV: leave out; repeatable")
    add(
        "--missing",
        choices=("error", "drop"),
        help="CSV: rows with empty cells (error)",
    )
    add(
        "--no-header",
        dest="header",
        action="store_false",
        default=None,
        help="CSV: the first line is data",
    )


def _look_arguments(parser):
    add = parser.add_argument
    add("files", metavar="DATA", nargs="+", help="a file, a glob, or a folder")
    add("--x", metavar="PATH", help="dataset of features in other HDF5 files")
    add("--y", metavar="PATH", help="dataset of targets in other HDF5 files")
    if parser.prog.endswith("info"):
        add("--all", action="store_true", help="list every feature")


def main(args, comm, say):
    """Do `mpipgd data` and return the exit code; collective.

    say: prints on the root, does nothing elsewhere.
    """
    return ACTIONS[args.action](args, comm, say) or 0


def _make(args, comm, say):
    from ..data.create.make import make

    fields = _given(args, (*MAKE_FIELDS, "dtype"))
    make(
        comm,
        args.name,
        args.out,
        test_size=args.test_size,
        seed=args.seed,
        shards=args.shards,
        overwrite=args.overwrite,
        **fields,
    )
    _say_written(args, comm, say)


def _import(args, comm, say):
    from ..comm import mpi
    from ..data.create.csv import parse_ordinal
    from ..data.create.ingest import ingest

    def work():
        options = _given(args, IMPORT_OPTIONS)
        if "ordinal" in options:
            options["ordinal"] = parse_ordinal(options["ordinal"])
        ingest(
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

    mpi.on_root(comm, work)
    _say_written(args, comm, say)


def _info(args, comm, say):
    from ..comm import mpi
    from ..data.hdf5.describe import describe
    from ..reporting.progress import Progress

    for data in args.files:
        options = {"x": args.x, "y": args.y, "all_features": args.all, "progress": Progress}
        say("\n".join(mpi.on_root(comm, partial(describe, data, **options))))


def _check(args, comm, say):
    from ..comm import mpi
    from ..data.hdf5.describe import audit
    from ..data.hdf5.source import resolve, scan
    from ..errors import DataError

    bad = []
    for data in args.files:
        files = mpi.on_root(comm, resolve, data)
        for file in files:
            try:
                audit(comm, file, x=args.x, y=args.y)
                say(f"{file}  ok")
            except DataError as error:
                say(str(error))
                bad.append(str(file))
        if len(files) > 1 and not bad:
            mpi.on_root(comm, partial(scan, data, x=args.x, y=args.y))
    if bad:
        raise DataError(f"{len(bad)} unfit file(s): {', '.join(bad)}", agreed=True)


def _say_written(args, comm, say):
    from ..comm import mpi
    from ..data.hdf5.describe import one_line_summary
    from ..data.hdf5.source import scan

    line = mpi.on_root(comm, lambda: one_line_summary(scan(args.out)))
    say(f"{args.out}: {line}")


def _given(args, names):
    return {n: v for n in names if (v := getattr(args, n)) is not None}


ACTIONS = {"make": _make, "import": _import, "info": _info, "check": _check}
