"""Score the model of a run folder on raw features, in parallel."""


def configure(parser):
    """Add the arguments."""
    parser.add_argument("RUN", help="a run folder")
    parser.add_argument("DATA", help="a file, a glob or a folder of shards")
    parser.add_argument("--x", metavar="PATH", help="path of the features in the file")
    parser.add_argument("--y", metavar="PATH", help="path of the targets in the file")


def main(args, comm, say):
    """Print rows, loss and score of each part."""
    from ..training import inference

    found = inference.evaluate(args.RUN, args.DATA, comm=comm, x=args.x, y=args.y)
    say(f"{'part':<6} {'rows':>10} {'loss':>12} {'score':>8}")
    for part, each in found.items():
        say(
            f"{part:<6} {each['rows']:>10,} {each['loss']:>12.6g} {each['score']:>8.4f}"
        )
    return 0
