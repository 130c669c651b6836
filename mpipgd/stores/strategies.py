"""The strategies: each a recipe name -> (transform, store), in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..comm.reduce_scatter import PostedNorms
from ..transforms.base import Transform, chain
from ..transforms.gradient_mean import (
    allreduce_mean,
    local_mean,
    reduce_scatter_mean,
)
from ..transforms.optimizers import OPTIMIZERS
from .averaged import AveragedSgd
from .base import ReplicatedWeights, Store
from .gossip import Gossip
from .hogwild import Hogwild
from .local import ElasticAveraging, LocalSgd, SyncSchedule
from .parameter_server import ParameterServer
from .sharded import ShardedWeights

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.base import Allreduce
    from ..comm.topology import Grid
    from ..config.options import TrainConfig
    from ..data.matrix import Matrix
    from ..plan.base import Plan


@dataclass(frozen=True, kw_only=True)
class StrategyInputs:
    """What a recipe may use, ready for this run and rank.

    steps      of the whole run
    weights    (size,) the initial weights, the same on all ranks
    optimizer  mean gradient -> update, with its penalties, clipping and learning rate
    allreduce  the sum over the workers
    norms      where ranks post the norms of slices; None unless the sum is sharded
    compiled   updates are plain SGD that a compiled kernel can take
    rows       this rank's training rows
    """

    options: TrainConfig
    grid: Grid
    plan: Plan
    steps: int
    weights: FloatArray
    optimizer: Transform
    allreduce: Allreduce
    norms: PostedNorms | None
    compiled: bool
    rows: Matrix

    def local_transform(self) -> Transform:
        """Return the transform of workers that each take steps of their own."""
        counts = self.plan.counts(self.grid.local_workers)
        return chain(local_mean(counts), self.optimizer)

    def sync_schedule(self, default: int) -> SyncSchedule:
        """Return the schedule of --sync-every, or of every `default` steps."""
        return every_steps(self.options.sync_every or default)


Recipe: TypeAlias = "Callable[[StrategyInputs], tuple[Transform, Store]]"


def sync(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """every step takes the mean gradient of all workers (synchronous SGD); with
    --average-from the model is the mean over the steps"""
    plan, allreduce, weights = inputs.plan, inputs.allreduce, inputs.weights
    batch_sizes = plan.global_batch_sizes()
    if inputs.norms is not None:
        mean = reduce_scatter_mean(allreduce, batch_sizes, inputs.norms)
        sharded = ShardedWeights(weights, allreduce, inputs.norms, plan.steps)
        return sharded.sharded(chain(mean, inputs.optimizer)), sharded
    transform = chain(allreduce_mean(allreduce, batch_sizes), inputs.optimizer)
    one_worker = plan.workers == 1
    if inputs.options.average_from is not None:
        first = round(inputs.options.average_from * plan.steps)
        return transform, AveragedSgd(weights, first, independent=one_worker)
    return transform, ReplicatedWeights(weights, independent=one_worker)


def average(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """each worker descends alone; the models are averaged --n-sync times in the run, or
    every --sync-every steps; --outer-lr, --outer-momentum make the average a step of a
    second optimizer (SlowMo, DiLoCo), --sync-until EPOCH meets at every step before
    (post-local SGD)"""
    options, first = inputs.options, local_phase_start(inputs)
    schedule = evenly_spaced(options.n_sync, inputs.steps - first)
    if options.sync_every:
        schedule = every_steps(options.sync_every)
    store = LocalSgd(
        inputs.weights,
        inputs.allreduce,
        inputs.plan,
        sync_every_step_then(first, schedule),
        outer=outer_optimizer(options),
        outer_from=first,
        keep_pre_average=options.worker_scores,
    )
    return inputs.local_transform(), store


def oneshot(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """each worker descends alone; the models are averaged once, at the end (Zinkevich
    et al. 2010)"""
    store = LocalSgd(
        inputs.weights,
        inputs.allreduce,
        inputs.plan,
        evenly_spaced(1, inputs.steps),
        keep_pre_average=inputs.options.worker_scores,
    )
    return inputs.local_transform(), store


def elastic(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """each worker descends alone; every --sync-every steps (10) the models and a centre
    pull at each other, --pull of the way (EASGD, Zhang et al. 2015)"""
    options = inputs.options
    store = ElasticAveraging(
        inputs.weights,
        inputs.allreduce,
        inputs.plan,
        inputs.sync_schedule(10),
        pull=1 / inputs.grid.workers if options.pull is None else options.pull,
        keep_pre_average=options.worker_scores,
    )
    return inputs.local_transform(), store


def gossip(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """each worker descends alone; every --sync-every steps (1) it averages with its
    neighbours on a --topology ring, torus or complete (D-PSGD, Lian et al. 2017)"""
    store = Gossip(
        inputs.weights,
        inputs.allreduce,
        inputs.plan,
        inputs.sync_schedule(1),
        topology=inputs.options.topology,
    )
    return inputs.local_transform(), store


def hogwild(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """the ranks of a node add their updates to one shared vector, without locks and a
    --chunk-size of rows at once; nodes average every --sync-every steps (Niu et al.
    2011)"""
    options, plan = inputs.options, inputs.plan
    store = Hogwild(
        inputs.weights,
        inputs.allreduce,
        plan,
        sync_every=options.sync_every or plan.steps,
        chunk=max(1, options.chunk_size // plan.batch_size),
        rows=inputs.rows if inputs.compiled else None,
    )
    return inputs.local_transform(), store


def async_(inputs: StrategyInputs) -> tuple[Transform, Store]:
    """each rank's workers update one vector when they are ready, by one-sided MPI; it
    is split over --servers ranks; --max-staleness bounds how far they run ahead
    (stale-synchronous parallel, Ho et al. 2013)"""
    options = inputs.options
    store = ParameterServer(
        inputs.weights,
        inputs.allreduce,
        inputs.plan,
        servers=options.servers,
        bound=options.max_staleness,
        damping=options.damping,
    )
    return inputs.local_transform(), store


def outer_optimizer(options: TrainConfig) -> Transform | None:
    """Return the optimizer of averages, or None: the next model is the average."""
    lr, momentum = options.outer_lr, options.outer_momentum
    if (lr, momentum) == (1, 0):
        return None
    name = "nesterov" if options.outer_nesterov else "momentum"
    return OPTIMIZERS[name](lambda t: np.full(np.shape(t), lr), momentum=momentum)


def local_phase_start(inputs: StrategyInputs) -> int:
    """Return the step up to which workers synchronize at every step."""
    return min(round(inputs.options.sync_until * inputs.plan.steps), inputs.steps)


def evenly_spaced(n_sync: int, steps: int) -> SyncSchedule:
    """Return the schedule of n_sync averages over the run, the last at its end."""
    steps = max(1, steps)

    def next_sync(step: float) -> float:
        done = step * n_sync // steps + 1
        return -(-done * steps // n_sync)

    return next_sync


def every_steps(every: int) -> SyncSchedule:
    """Return the schedule that synchronizes at every multiple of `every`."""
    return lambda step: (step // every + 1) * every


def sync_every_step_then(first: int, schedule: SyncSchedule) -> SyncSchedule:
    """Return the schedule of every step up to `first`, then `schedule`."""
    return lambda step: step + 1 if step < first else first + schedule(step - first)


RECIPES: tuple[Recipe, ...] = (
    sync, average, oneshot, elastic, gossip, hogwild, async_,
)  # fmt: skip
STRATEGIES = {recipe.__name__.rstrip("_"): recipe for recipe in RECIPES}
