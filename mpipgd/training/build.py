"""From options to the parts of the loop: schedule, optimizer, strategy, store."""

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..comm.allreduce import make_allreduce
from ..data.load import SplitRows
from ..data.matrix import Csr
from ..errors import UsageError
from ..plan.batches import Batches
from ..plan.streamed_batches import StreamedBatches
from ..stores.strategies import STRATEGIES, StrategyInputs
from ..transforms import schedules
from ..transforms.optimizers import OPTIMIZERS, chain, clip_norm, clip_weights, decay
from .fused_sync import FusedSyncStepper, can_fuse_sync


@dataclass
class TrainingComponents:
    """What one rank needs to descend; `free` it, together, in the end."""

    steps: int
    rate: Any
    gradient: Any
    transform: Any
    store: Any
    descend: Any
    total: Any
    warm_up: Any  # compile, or load, what the run will call
    whole: Any  # the first step from one on at which the descent may be interrupted
    solver: Any = None  # that takes all rows at once, instead of the transform

    def free(self):
        """Free what the ranks share; collective."""
        self.store.free()
        self.total.free()


def build_training(options, grid, plan, objective, train, clock):
    """Build the parts of the loop that `options` name, for this rank's `train` rows."""
    steps = plan.steps * options.epochs
    by_count = options.strategy == "average" and not options.sync_every
    if by_count and options.n_sync > max(1, steps):
        found = f"--n-sync {options.n_sync}: the run has {steps} steps"
        raise UsageError(found, agreed=True)
    rate = build_schedule(options, plan, objective)
    vectors = build_allreduce(options, grid, objective, clock)
    weights = objective.init(np.random.default_rng([options.seed, 0]))
    part = vectors.slice if vectors.sharded else slice(None)
    descent = build_optimizer(options, objective, rate, part)
    fast = is_plain_sgd(options) and objective.compiled
    if options.average_from is not None and isinstance(train.X, Csr):
        fast = fast and objective.supports_sparse_averaging
    args = options, grid, plan, steps, weights, descent, vectors, fast, train
    with contextlib.ExitStack() as stack:
        stack.callback(vectors.free)  # where the recipe refuses
        transform, store = STRATEGIES[options.strategy](StrategyInputs(*args))
        stack.pop_all()
    batches = build_batches(objective, plan, train, grid, clock, vectors)
    taken = store.descent(objective) if fast and batches.interruptible else None
    descend = taken and fused_stepper(batches, rate, taken)
    march = fast and can_fuse_sync(options, batches, objective, vectors, train)
    if march:
        descend = FusedSyncStepper(batches, vectors, rate)
        transform = descend.counted(transform)
    if taken and isinstance(train, SplitRows):
        batches.steps_per_call = objective.steps_per_call(train.X, plan.batch_size)
    warm = partial(warm_up, objective, train, taken, descend if march else None)
    parts = batches, transform, store, descend, vectors, warm, batches.whole
    return TrainingComponents(steps, rate, *parts)


def build_batches(objective, plan, train, grid, clock, vectors):
    """Return the gradients over the hosted workers' batches, from memory or disk."""
    sums = vectors.rows if vectors.sharded else None
    workers = range(grid.first, grid.last)
    if isinstance(train, SplitRows):
        batches = Batches(objective, plan, train, workers, sums=sums)
        if vectors.pieces and hasattr(objective, "layer_offsets"):
            batches.tell(vectors.pieces.on_gradient_ready)
        return batches
    return StreamedBatches(objective, plan, train, workers, clock=clock, sums=sums)


def build_allreduce(options, grid, objective, clock):
    """Return the sum over the workers; in slices where all can be done on slices."""
    whole = options.clip_norm or options.many or options.average_from is not None
    vectors = make_allreduce(
        grid,
        clock,
        objective.size,
        objective.dtype,
        reduction=options.reduction,
        compiled=objective.compiled,
        apart=options.strategy == "sync" and not whole,
    )
    vectors.columns = len(objective.configs) if options.many else 1
    return vectors


def warm_up(objective, train, taken=None, march=None):
    """Call the compiled passes of a run on no rows."""
    if march:
        march.warm_up()
    objective.warm_up(train.X, train.y)
    if train.mapped_example:
        w = np.zeros(objective.size, objective.dtype)
        objective.gradient(w, train.mapped_example, train.y, None, np.empty_like(w))
    if taken:
        w, none = np.zeros(objective.size, objective.dtype), np.empty(0, np.int64)
        taken(w, train.X, train.y, none, np.zeros(1, np.int64), np.empty(0))


def build_schedule(options, plan, objective):
    """Return the schedule step -> learning rate."""
    return schedules.make_schedule(
        options.schedule,
        lr=options.lr,
        power=options.power,
        alpha=max(options.alpha),
        steps_per_epoch=plan.steps,
        epochs=options.epochs,
        warmup=options.warmup,
        drop=options.drop,
        every=options.drop_every,
        scaling=options.lr_scaling,
        workers=options.workers,
    )


def build_optimizer(options, objective, rate, part):
    """Return the transform mean gradient -> update, with its penalties and clips.

    `part`: the slice of the vectors that it will see.
    """
    descent, factors = OPTIMIZERS[options.optimizer], None
    if options.many:
        factors = objective.lr_factors(options.lr)
        factors = factors if factors is None else factors[part]
    alpha, beta = (
        None if each is None else each[part]
        for each in (objective.l2_weights, objective.l1_weights)
    )
    return chain(
        decay(alpha),
        *([clip_norm(options.clip_norm)] if options.clip_norm else []),
        descent(rate, momentum=options.momentum, l1=beta, factors=factors),
        *([clip_weights(options.clip_weights)] if options.clip_weights else []),
    )


def is_plain_sgd(options):
    """Say whether an update is nothing but -lr times the penalised gradient."""
    clipped = options.clip_norm or options.clip_weights
    return options.optimizer == "sgd" and not clipped and options.kernels != "numpy"


def fused_stepper(batches, rate, taken):
    """Return descend(weights, step, until): a compiled pass at the rates due."""

    def descend(weights, step, until):
        rates = np.asarray(rate(np.arange(step, until)), dtype=np.float64)
        batches.descend(weights, step, until, rates, taken)

    return descend
