"""The options of a training run: one dataclass.

Flags, TOML keys, --help and the options stored with a run are made from its fields.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UsageError
from .option import AnyBut, Lacks, check_value, option, parse_bytes, parse_class_weight


def _in_group(group: str) -> Callable[..., Any]:
    """Return `option` for the fields of one group of flags."""
    return lambda default, text, **bounds: option(default, text, group=group, **bounds)


_data, _model, _descent = _in_group("data"), _in_group("model"), _in_group("descent")
_workers, _run = _in_group("workers"), _in_group("run")
_table = _in_group("table: CSV, Parquet, Arrow")

# The names of losses, optimizers, strategies, … in `choices` repeat the registries in
# objectives, transforms, stores, … on purpose: those import numpy, which --help must
# not load. tests/config/test_options.py compares them.
LOSSES = ("squared", "huber", "log", "hinge", "squared_hinge", "softmax")
BUNDLED = ("digits", "diabetes", "breast_cancer", "wine", "iris")
SWEEP_KEYS = ("lr", "alpha", "l1_ratio")  # options that --many takes lists of


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on.

    None means that the task decides, or that the option is not used.
    """

    data: str = _data(
        "digits",
        "a table, as CSV or Parquet, a data file, a glob, a folder of shards, or a "
        f"bundled set: {', '.join(BUNDLED)}",
    )
    x: str | None = _data(
        None,
        "path of the features in an HDF5 file of another format",
    )
    y: str | None = _data(None, "path of the targets in an HDF5 file of another format")
    weight: str | None = _data(
        None,
        "column of the row weights of a table, or their path in an HDF5 file of "
        "another format",
    )
    class_weight: str | None = _data(
        None,
        "multiply the rows' weights by one of their class: balanced, or as "
        "LABEL=2,OTHER=0.5",
        data="classes",
    )
    memory_limit: str | None = _data(
        None,
        "memory for the rows on a node, as 2GB: what does not fit is read again and "
        "again, in random blocks",
        applies={"split": ("disjoint",)},
    )
    rows_share: float = _data(
        1.0, "train on the first rows only, this share of them", low=0, high=1
    )
    validation: float = _data(
        0.0,
        "share of the training rows to hold out, drawn by the seed: early stopping, "
        "the best checkpoint, --target and --many go by them",
        low=0,
        high=0.9,
    )
    stratify: bool = _data(
        False,
        "hold out the same share of the rows of every class (with --validation, and "
        "for the test rows of a table)",
        data="classes",
    )
    allow_changed_data: bool = _data(
        False, "resume although the data is not that of the checkpoint"
    )
    standardize: bool = _data(
        True, "bring features to mean 0 and deviation 1", data="dense features"
    )
    standardize_target: bool = _data(
        True, "train on a target of mean 0 and deviation 1", data="regression"
    )

    label: str | None = _table(None, "column to predict, by name or number [the last]")
    task: str | None = _table(
        None,
        "what the label is; by default texts, and two whole numbers, are classes",
        choices=("regression", "binary", "multiclass"),
    )
    drop_column: tuple[str, ...] | None = _table(
        None, "column to leave out; repeatable"
    )
    missing: str | None = _table(
        None,
        "missing cells: refuse them, drop their rows, or fill them in with what "
        "training rows have [error]",
        choices=("error", "drop", "mean", "median", "most-frequent", "indicator"),
    )
    ordinal: tuple[str, ...] | None = _table(
        None, 'column of ordered texts, as "size=S<M<L"; repeatable'
    )
    hash: tuple[str, ...] | None = _table(
        None, "column of many texts to hash to features, as word=2^18; repeatable"
    )
    date: tuple[str, ...] | None = _table(
        None, "column of dates that are no ISO 8601, as day=%d/%m/%Y; repeatable"
    )
    date_parts: tuple[str, ...] | None = _table(
        None, "column of dates that become year, month, day, …; repeatable"
    )
    test: str | None = _table(
        None, "file of the test rows, instead of --test-size; also NPZ, IDX, svmlight"
    )
    test_size: float | None = _table(None, "share of test rows [0.2]", low=0, high=0.99)
    group: str | None = _table(
        None, "column of groups, of which all rows or none are test or validation rows"
    )
    separator: str | None = _table(None, "of CSV cells [recognised]")
    decimal: str | None = _table(None, "decimal point or comma of a CSV [recognised]")
    thousands: str | None = _table(None, "of the numbers of a CSV, as , [none]")
    encoding: str | None = _table(None, "of a CSV's text [UTF-8, or else cp1252]")
    header: bool = _table(True, "take the first line of a CSV as column names")

    model: str = _model("linear", "which model", choices=("linear", "mlp"))
    loss: str | None = _model(
        None,
        "which loss; by default squared, log or softmax, as the task wants",
        choices=LOSSES,
    )
    epsilon: float = _model(
        0.1,
        "residual from which the huber loss is linear",
        low=0,
        applies={"loss": ("huber",)},
    )
    hidden: tuple[int, ...] = _model(
        (64,),
        "sizes of the mlp's hidden layers, as 256,64",
        low=1,
        applies={"model": ("mlp",)},
    )
    activation: str = _model(
        "relu",
        "of the hidden layers",
        choices=("sigmoid", "tanh", "relu"),
        applies={"model": ("mlp",)},
    )
    penalty: str = _model(
        "l2",
        "on the weights, never on intercepts",
        choices=("none", "l2", "l1", "elasticnet"),
    )
    alpha: tuple[float, ...] = _model(
        (1e-4,),
        "strength of the penalty; for an mlp also one a layer, as 1e-2,1e-5",
        low=0,
        applies=(
            {"penalty": AnyBut("none"), "many": Lacks("alpha")},
            {"schedule": ("optimal",)},
        ),
    )
    l1_ratio: float = _model(
        0.15,
        "share of l1 in elasticnet",
        low=0,
        high=1,
        applies={"penalty": ("elasticnet",), "many": Lacks("l1_ratio")},
    )
    intercept: bool = _model(
        True,
        "learn an intercept",
        applies={"model": ("linear",)},
    )
    init_std: tuple[float, ...] | None = _model(
        None,
        "deviations of the mlp's first weights and biases, as 0.001,0.1",
        low=0,
        applies={"model": ("mlp",)},
    )
    dtype: str | None = _model(
        None,
        "of weights, gradients and features; by default float64, mlp float32",
        choices=("float32", "float64"),
    )
    kernels: str = _model(
        "auto",
        "compiled passes, plain numpy, or the better one",
        choices=("auto", "numba", "numpy"),
    )

    optimizer: str = _descent(
        "sgd",
        "what makes an update of a gradient",
        choices=(
            "sgd",
            "momentum",
            "nesterov",
            "adagrad",
            "rmsprop",
            "adam",
            "adamw",
            "lbfgs",
        ),
    )
    then: str | None = _descent(
        None,
        "go on with it over all rows when an epoch brings less than 5 %, or --tol "
        "(Agarwal et al. 2011)",
        choices=("lbfgs",),
        applies={"optimizer": AnyBut("lbfgs")},
    )
    lr: float = _descent(
        0.1,
        "learning rate",
        low=0,
        applies={"optimizer": AnyBut("lbfgs"), "many": Lacks("lr")},
    )
    momentum: float = _descent(
        0.9,
        "share of the last update in the next one",
        low=0,
        high=1,
        applies={"optimizer": ("momentum", "nesterov")},
    )
    weight_decay: float | None = _descent(
        None,
        "of weights, not of intercepts, at every step, besides the penalty's in the "
        "gradient (default: 0.01)",
        low=0,
        applies={"optimizer": ("adamw",)},
    )
    many: str | None = _descent(
        None,
        "settings to train together, in one pass: as lr=0.1,0.01 alpha=1e-3,1e-4 for "
        "all four; repeatable; chosen by the validation score, with --validation 0.2 "
        "unless given",
        applies={"model": ("linear",)},
    )
    schedule: str = _descent(
        "constant",
        "of the learning rate",
        choices=("constant", "invscaling", "optimal", "step", "cosine"),
        applies={"optimizer": AnyBut("lbfgs")},
    )
    power: float = _descent(
        0.25,
        "lr / t^power",
        low=0,
        applies={"schedule": ("invscaling",)},
    )
    drop: float = _descent(
        0.1,
        "factor by which the learning rate drops",
        low=0,
        applies={"schedule": ("step",)},
    )
    drop_every: int = _descent(
        30,
        "epochs between drops",
        low=1,
        applies={"schedule": ("step",)},
    )
    warmup: float = _descent(
        0.0,
        "epochs over which the learning rate ramps up",
        low=0,
        applies={"optimizer": AnyBut("lbfgs")},
    )
    lr_scaling: str = _descent(
        "none",
        "multiply lr by the workers or their square root",
        choices=("none", "linear", "sqrt"),
        applies={"optimizer": AnyBut("lbfgs")},
    )
    clip_norm: float | None = _descent(
        None,
        "largest norm of a gradient",
        low=0,
        applies={"optimizer": AnyBut("lbfgs")},
    )
    clip_weights: float | None = _descent(
        None,
        "largest absolute weight",
        low=0,
        applies={"optimizer": AnyBut("lbfgs")},
    )

    strategy: str = _workers(
        "sync",
        "how the workers descend together",
        choices=("sync", "average", "oneshot", "elastic", "gossip", "hogwild", "async"),
    )
    workers: int | None = _workers(
        None,
        "parallel workers; the result depends on them, not on the ranks (default: "
        "the ranks)",
        low=1,
    )
    batch_size: int = _workers(
        32,
        "rows that a worker takes a step",
        low=1,
        applies={"optimizer": AnyBut("lbfgs")},
    )
    split: str = _workers(
        "disjoint",
        "rows of a worker: an equal part, a copy of all, or a random --fraction",
        choices=("disjoint", "replicate", "sample"),
    )
    fraction: float = _workers(
        0.5,
        "share of the rows that a worker samples",
        low=0,
        high=1,
        applies={"split": ("sample",)},
    )
    average_from: float | None = _workers(
        None,
        "epochs after which the model is the mean of the weights after each step "
        "(averaged SGD)",
        low=0,
        applies={"strategy": ("sync",)},
    )
    n_sync: int = _workers(
        10,
        "averagings of the whole run, the last one included",
        low=1,
        applies={"strategy": ("average",), "sync_every": (None,)},
    )
    sync_every: int | None = _workers(
        None,
        "steps between meetings: average, instead of --n-sync; elastic, 10 if not "
        "given; gossip, 1; hogwild between nodes, an epoch",
        low=1,
        applies={"strategy": ("average", "elastic", "gossip", "hogwild")},
    )
    sync_until: float = _workers(
        0.0,
        "epochs in which workers meet at every step, before others",
        low=0,
        applies={"strategy": ("average",)},
    )
    outer_lr: float = _workers(
        1.0,
        "step of the outer optimizer from model to average",
        low=0,
        applies={"strategy": ("average",)},
    )
    outer_momentum: float = _workers(
        0.0,
        "momentum of the outer optimizer",
        low=0,
        high=1,
        applies={"strategy": ("average",)},
    )
    outer_nesterov: bool = _workers(
        False,
        "take the outer momentum as Nesterov's",
        applies={"strategy": ("average",), "outer_momentum": AnyBut(0.0)},
    )
    pull: float | None = _workers(
        None,
        "share of its way to the centre that a worker is pulled (default: 1 / workers)",
        low=0,
        high=1,
        applies={"strategy": ("elastic",)},
    )
    topology: str = _workers(
        "ring",
        "who averages with whom",
        choices=("ring", "torus", "complete"),
        applies={"strategy": ("gossip",)},
    )
    chunk_size: int = _workers(
        64,
        "rows between two folds into the shared vector",
        low=1,
        applies={"strategy": ("hogwild",)},
    )
    servers: int = _workers(
        1,
        "ranks over which the shared vector is split",
        low=1,
        applies={"strategy": ("async",)},
    )
    max_staleness: int | None = _workers(
        None,
        "steps that a worker may be ahead of the slowest one; 0: as sync",
        low=0,
        applies={"strategy": ("async",)},
    )
    damping: bool = _workers(
        False,
        "divide an update by 1 + its staleness",
        applies={"strategy": ("async",)},
    )
    reduction: str = _workers(
        "fixed",
        "sum in the fixed order, or as the MPI library likes",
        choices=("fixed", "mpi"),
        applies={"strategy": AnyBut("async"), "optimizer": AnyBut("lbfgs")},
    )

    epochs: int = _run(30, "passes over the training rows", low=0)
    target: float | None = _run(
        None,
        "stop at this score: of the validation rows if there are any, else of the "
        "test rows, else of the training rows",
    )
    tol: float | None = _run(
        None,
        "stop when the validation loss (without --validation the training loss) fell "
        "by less than this for --patience evaluations",
        low=0,
    )
    patience: int = _run(
        5, "evaluations to wait for", low=1, applies={"tol": AnyBut(None)}
    )
    allow_climb: bool = _run(
        False, "accept a final training loss above that of the first weights"
    )
    time_limit: float | None = _run(
        None,
        "stop after so many seconds of training",
        low=0,
    )
    seed: int = _run(0, "of the first weights and the order of the rows", low=0)
    run: str | None = _run(None, "the run folder (default: runs/TIME-DATA-STRATEGY)")
    trace: str | None = _run(
        None, "write what every rank did when, for chrome://tracing or ui.perfetto.dev"
    )
    eval_every: int = _run(1, "epochs between evaluations", low=1)
    worker_scores: bool = _run(
        False,
        "score each worker's own model, too, at every evaluation",
        applies={"strategy": ("average", "oneshot", "elastic", "gossip")},
    )
    checkpoint_every: str = _run("1", "epochs between checkpoints, or steps as in 500s")
    hang_after: float = _run(
        600.0,
        "end all ranks when no step was made for so many seconds; 0: never",
        low=0,
    )
    picture: bool = _run(
        True, "write evaluation.json and report.html, and with matplotlib loss.png"
    )
    quiet: bool = _run(False, "print nothing but errors")

    def __post_init__(self) -> None:
        for field in fields(self):
            check_value(field, getattr(self, field.name))
        if self.memory_limit is not None:
            parse_bytes(self.memory_limit)
        if self.class_weight is not None:
            parse_class_weight(self.class_weight)
        takes_sync_steps = self.strategy == "sync" and self.optimizer != "lbfgs"
        if self.average_from is not None and not takes_sync_steps:
            raise UsageError(
                "--average-from takes --strategy sync, and an --optimizer that takes "
                f"steps; found {self.strategy}, {self.optimizer}"
            )
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise UsageError(
                f"--weight-decay takes --optimizer adamw, found {self.optimizer}"
            )
        interval = self.checkpoint_every.removesuffix("s")
        if not interval.isdecimal() or int(interval) < 1:
            raise UsageError(
                f"--checkpoint-every {self.checkpoint_every}: expected epochs, as 10, "
                "or steps, as 500s"
            )
