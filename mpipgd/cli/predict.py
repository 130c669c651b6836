"""Write a run's predictions on raw features to an HDF5 file, in parallel."""

from . import evaluate


def configure(parser):
    """Add the arguments."""
    evaluate.configure(parser)
    parser.add_argument(
        "-o", "--output", metavar="OUT.h5", required=True, help="the file"
    )


def main(args, comm, say):
    """Predict, and say how many rows."""
    from ..training import inference

    data = {"x": args.x, "y": args.y}
    parts = inference.predict(args.RUN, args.DATA, args.output, comm=comm, **data)
    for part, rows in parts.items():
        say(f"{args.output}: /{part}/prediction and /{part}/output, {rows:,} rows")
    return 0
