"""From options to what the loop runs: schedule, optimizer, strategy, stepper."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ..comm.allreduce import SharedMemoryAllreduce, make_allreduce
from ..comm.reduce_scatter import PostedNorms
from ..data.matrix import Csr
from ..data.out_of_core import StreamedRows
from ..data.validation import target_scaling
from ..errors import UsageError
from ..plan.batches import Batches
from ..plan.streamed_batches import StreamedBatches
from ..stores.base import ReplicatedWeights, Store
from ..stores.strategies import STRATEGIES, StrategyInputs
from ..transforms import schedules
from ..transforms.base import chain
from ..transforms.optimizers import OPTIMIZERS, clip_norm, clip_weights, decay
from .full_batch import LbfgsStepper
from .fused_sync import FusedSyncStepper, can_fuse_sync
from .steppers import FusedLocalStepper, GenericStepper

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.base import Allreduce
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from ..data.base import Split
    from ..data.hdf5.source import Source
    from ..objectives.base import CompiledObjective, Objective
    from ..plan.base import Plan
    from ..reporting.timing import Clock
    from ..transforms.base import Transform
    from .base import Stepper


@dataclass(frozen=True, kw_only=True)
class TrainingComponents:
    """What one rank needs to train; `free` it on all ranks together.

    steps      updates of the whole run
    schedule   step -> learning rate
    allreduce  the sum over the workers
    norms      where ranks post the norms of a sharded sum's slices, or None
    """

    steps: int
    schedule: schedules.Schedule | None
    stepper: Stepper
    store: Store
    allreduce: Allreduce
    norms: PostedNorms | None = None

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step; 1 for L-BFGS, which has none."""
        return 1.0 if self.schedule is None else self.schedule(step)

    def free(self) -> None:
        """Free what the ranks share; collective."""
        self.store.free()
        self.allreduce.free()
        if self.norms is not None:
            self.norms.free()


def build_training(
    options: TrainConfig,
    grid: Grid,
    plan: Plan,
    objective: Objective,
    rows: Split,
    clock: Clock,
    *,
    fuse_steps: bool = True,
) -> TrainingComponents:
    """Build what the options name, for this rank's training `rows`; collective.

    Where it is possible, and `fuse_steps` allows it, many steps are taken in one
    compiled call; this is the one place that chooses. Raises UsageError on all ranks
    where the options do not fit the run.
    """
    steps = plan.steps * options.epochs
    by_count = options.strategy == "average" and not options.sync_every
    if by_count and options.n_sync > max(1, steps):
        raise UsageError(
            f"--n-sync {options.n_sync}: the run has {steps} steps", agreed=True
        )
    schedule = build_schedule(options, plan)
    compiled_sgd = fuse_steps and is_plain_sgd(options) and objective.compiled
    if options.average_from is not None and isinstance(rows.X, Csr):
        compiled_sgd = compiled_sgd and objective.supports_sparse_averaging
    allreduce = build_allreduce(options, grid, objective, clock)
    with contextlib.ExitStack() as on_error:
        on_error.callback(allreduce.free)
        norms = None
        if allreduce.sharded:
            norms = PostedNorms(grid.node)
            on_error.callback(norms.free)
        transform, store = STRATEGIES[options.strategy](
            StrategyInputs(
                options=options,
                grid=grid,
                plan=plan,
                steps=steps,
                weights=objective.init(np.random.default_rng([options.seed, 0])),
                optimizer=build_optimizer(
                    options, objective, schedule, allreduce.slice
                ),
                allreduce=allreduce,
                norms=norms,
                compiled=compiled_sgd,
                rows=rows.X,
            )
        )
        on_error.pop_all()
    stepper = _choose_stepper(
        options,
        grid,
        plan,
        objective,
        rows,
        clock,
        compiled_sgd=compiled_sgd,
        schedule=schedule,
        allreduce=allreduce,
        transform=transform,
        store=store,
    )
    return TrainingComponents(
        steps=steps,
        schedule=schedule,
        stepper=stepper,
        store=store,
        allreduce=allreduce,
        norms=norms,
    )


def _choose_stepper(
    options: TrainConfig,
    grid: Grid,
    plan: Plan,
    objective: Objective,
    rows: Split,
    clock: Clock,
    *,
    compiled_sgd: bool,
    schedule: schedules.Schedule,
    allreduce: Allreduce,
    transform: Transform,
    store: Store,
) -> Stepper:
    """Return the fastest stepper that can take the steps of this run."""
    kernel = None
    compiled_objective = cast("CompiledObjective", objective)  # where `compiled_sgd`
    if compiled_sgd:
        kernel = store.sgd_kernel(compiled_objective)
    batches: Batches | StreamedBatches
    if isinstance(rows, StreamedRows):
        batches = StreamedBatches(
            objective,
            plan,
            rows,
            grid.local_workers,
            clock=clock,
            out=allreduce.gradient_buffer,
        )
    else:
        on_ready = None
        if allreduce.overlap is not None and objective.layer_offsets:
            on_ready = allreduce.overlap.on_gradient_ready
        steps_per_call = 0
        if kernel is not None:
            steps_per_call = compiled_objective.steps_per_call(rows.X, plan.batch_size)
        batches = Batches(
            objective,
            plan,
            rows,
            grid.local_workers,
            out=allreduce.gradient_buffer,
            on_ready=on_ready,
            steps_per_call=steps_per_call,
        )
    if compiled_sgd and can_fuse_sync(options, batches, objective, allreduce, rows):
        return FusedSyncStepper(
            cast(Batches, batches),
            transform,
            store,
            compiled_objective,
            rows,
            schedule=schedule,
            allreduce=cast(SharedMemoryAllreduce, allreduce),
        )
    if kernel is not None and batches.fusible:
        return FusedLocalStepper(
            batches,
            transform,
            store,
            objective,
            rows,
            schedule=schedule,
            kernel=kernel,
        )
    return GenericStepper(batches, transform, store, objective, rows)


def build_full_batch(
    options: TrainConfig,
    grid: Grid,
    plan: Plan,
    objective: Objective,
    rows: Split,
    clock: Clock,
    weights: FloatArray,
) -> TrainingComponents:
    """Build training by L-BFGS, from weights that are the same on all ranks."""
    allreduce = make_allreduce(
        grid, clock, objective.size, objective.dtype, compiled=objective.compiled
    )
    return TrainingComponents(
        steps=plan.steps * options.epochs,
        schedule=None,
        stepper=LbfgsStepper(objective, rows, plan, allreduce),
        store=ReplicatedWeights(weights),
        allreduce=allreduce,
    )


def build_allreduce(
    options: TrainConfig, grid: Grid, objective: Objective, clock: Clock
) -> Allreduce:
    """Return the sum over the workers; sharded where all work can be done on slices."""
    needs_whole_vector = (
        options.clip_norm or options.many or options.average_from is not None
    )
    return make_allreduce(
        grid,
        clock,
        objective.size,
        objective.dtype,
        reduction=options.reduction,
        compiled=objective.compiled,
        sharded=options.strategy == "sync" and not needs_whole_vector,
        n_models=objective.n_models,
    )


def standardize_target(
    objective: Objective, grid: Grid, source: Source, plan: Plan, options: TrainConfig
) -> Objective:
    """Return the objective for the standardised target, if it is so; collective.

    Several targets stay as they are: their scales weigh them against one another.
    """
    header = source.header
    one_number = header.task == "regression" and header.targets is None
    if not (options.standardize_target and one_number):
        return objective
    centered = options.model != "linear" or options.intercept
    scaling = target_scaling(grid, source, plan, centered=centered)
    return objective.with_standardized_target(*scaling)


def build_schedule(options: TrainConfig, plan: Plan) -> schedules.Schedule:
    """Return the schedule step -> learning rate."""
    assert options.workers is not None  # set by `run.train`
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


def build_optimizer(
    options: TrainConfig,
    objective: Objective,
    schedule: schedules.Schedule,
    columns: slice,
) -> Transform:
    """Return the transform mean gradient -> update, with penalties and clipping.

    columns: the slice of the weights that it will work on.
    """

    def sliced(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else values[columns]

    return chain(
        decay(sliced(objective.l2_weights)),
        clip_norm(options.clip_norm or None),
        OPTIMIZERS[options.optimizer](
            schedule,
            momentum=options.momentum,
            l1_weights=sliced(objective.l1_weights),
            lr_factors=sliced(objective.lr_factors(options.lr)),
            weight_decay=sliced(_weight_decay(options, objective)),
        ),
        clip_weights(options.clip_weights or None),
    )


def _weight_decay(options: TrainConfig, objective: Objective) -> FloatArray | None:
    """Return the strength of adamw's decay for each weight (size,); None for others.

    Weights that have no penalty, as intercepts, do not decay.
    """
    if options.optimizer != "adamw":
        return None
    strength = options.weight_decay
    strengths = np.full(objective.size, 0.01 if strength is None else strength)
    if objective.penalised is not None:
        strengths *= objective.penalised
    return strengths.astype(objective.dtype)


def is_plain_sgd(options: TrainConfig) -> bool:
    """Whether an update is -lr times the penalised gradient, and nothing else."""
    clipped = options.clip_norm or options.clip_weights
    return options.optimizer == "sgd" and not clipped and options.kernels != "numpy"
