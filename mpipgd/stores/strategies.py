"""The strategies: each a recipe name -> (transform, store), in one table."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..transforms.gradient_mean import allreduce_mean, local_mean, reduce_scatter_mean
from ..transforms.optimizers import OPTIMIZERS, chain
from .averaged import AveragedSgd
from .base import SharedWeights
from .gossip import Gossip
from .hogwild import Hogwild
from .local import ElasticAveraging, LocalSgd
from .parameter_server import ParameterServer
from .sharded import ShardedWeights


@dataclass(frozen=True)
class StrategyInputs:
    """What a recipe may use: all of it is ready-made for this run and rank."""

    options: Any
    grid: Any
    plan: Any
    steps: int  # of the whole run
    weights: np.ndarray  # (size,) the first ones, the same on all ranks
    optimizer: Any  # mean gradient -> update, with its penalties, clips and rates
    total: Any  # sum over the workers
    compiled: bool  # are updates plain SGD that a compiled pass takes?
    train: Any  # this rank's rows

    def alone(self):
        """Return the transform of workers that each descend by themselves."""
        hosted = range(self.grid.first, self.grid.last)
        return chain(local_mean(self.plan.counts(hosted)), self.optimizer)

    def due(self, default):
        """Return due(step) of a meeting every --sync-every steps, or `default`."""
        return every_steps(self.options.sync_every or default)


def sync(parts):
    """every step takes the mean gradient of all workers (synchronous SGD); with
    --average-from the model is the mean over the steps"""
    if parts.total.sharded:
        store = ShardedWeights(parts.weights, parts.total, parts.plan.steps)
        part_of_mean = reduce_scatter_mean(parts.total, parts.plan.global_batch_sizes())
        return store.sliced(chain(part_of_mean, parts.optimizer)), store
    average_gradient = allreduce_mean(parts.total, parts.plan.global_batch_sizes())
    store, alone = SharedWeights, parts.plan.workers == 1
    if parts.options.average_from is not None:
        first = round(parts.options.average_from * parts.plan.steps)
        store = partial(AveragedSgd, first=first)
    store = store(parts.weights, alone=alone)
    return chain(average_gradient, parts.optimizer), store


def average(parts):
    """each worker descends alone; the models are averaged --n-sync times in the run, or
    every --sync-every steps; --outer-lr, --outer-momentum make the average a step of a
    second optimizer (SlowMo, DiLoCo), --sync-until EPOCH meets at every step before
    (post-local SGD)"""
    options, first = parts.options, local_phase_start(parts)
    every, n_sync = options.sync_every, options.n_sync
    due = every_steps(every) if every else evenly_spaced(n_sync, parts.steps - first)
    return _averaged(
        parts,
        sync_every_step_then(first, due),
        outer=outer_optimizer(options),
        since=first,
    )


def oneshot(parts):
    """each worker descends alone; the models are averaged once, at the end (Zinkevich
    et al. 2010)"""
    return _averaged(parts, evenly_spaced(1, parts.steps))


def elastic(parts):
    """each worker descends alone; every --sync-every steps (10) the models and a centre
    pull at each other, --pull of the way (EASGD, Zhang et al. 2015)"""
    grid, options = parts.grid, parts.options
    pull = 1 / grid.workers if options.pull is None else options.pull
    args = parts.weights, parts.total, parts.plan, parts.due(10)
    return parts.alone(), ElasticAveraging(*args, pull=pull, kept=options.worker_scores)


def gossip(parts):
    """each worker descends alone; every --sync-every steps (1) it averages with its
    neighbours on a --topology ring, torus or complete (D-PSGD, Lian et al. 2017)"""
    args = parts.weights, parts.total, parts.plan, parts.due(1)
    return parts.alone(), Gossip(*args, topology=parts.options.topology)


def hogwild(parts):
    """the ranks of a node add their updates to one shared vector, without locks and a
    --chunk-size of rows at once; nodes average every --sync-every steps (Niu et al.
    2011)"""
    args = parts.weights, parts.total, parts.plan
    every = parts.options.sync_every or parts.plan.steps
    chunk = max(1, parts.options.chunk_size // parts.plan.batch_size)
    rows = parts.train.X if parts.compiled else None
    return parts.alone(), Hogwild(*args, every=every, chunk=chunk, rows=rows)


def async_(parts):
    """each rank's workers update one vector when they are ready, by one-sided MPI; it
    is split over --servers ranks; --max-staleness bounds how far they run ahead
    (stale-synchronous parallel, Ho et al. 2013)"""
    options = parts.options
    args = parts.weights, parts.total, parts.plan
    more = {"bound": options.max_staleness, "damping": options.damping}
    return parts.alone(), ParameterServer(*args, servers=options.servers, **more)


def _averaged(parts, due, **more):
    more |= {"kept": parts.options.worker_scores}
    store = LocalSgd(parts.weights, parts.total, parts.plan, due, **more)
    return parts.alone(), store


def outer_optimizer(options):
    """Return the optimizer of averages, or None: the next model is the average."""
    lr, momentum = options.outer_lr, options.outer_momentum
    if (lr, momentum) == (1, 0):
        return None
    name = "nesterov" if options.outer_nesterov else "momentum"
    return OPTIMIZERS[name](lambda t: np.full(np.shape(t), lr), momentum=momentum)


def local_phase_start(parts):
    """Return the step after which the workers no longer meet at every one."""
    return min(round(parts.options.sync_until * parts.plan.steps), parts.steps)


def evenly_spaced(n_sync, steps):
    """Return due(step) of n_sync averagings over the run, the last at its end."""
    steps = max(1, steps)

    def due(step):
        done = step * n_sync // steps + 1
        return -(-done * steps // n_sync)

    return due


def every_steps(every):
    """Return due(step) of an averaging at every multiple of `every`."""
    return lambda step: (step // every + 1) * every


def sync_every_step_then(first, due):
    """Return due(step) of a meeting at every step up to `first`, then as `due`."""
    return lambda step: step + 1 if step < first else first + due(step - first)


RECIPES = (sync, average, oneshot, elastic, gossip, hogwild, async_)
STRATEGIES = {recipe.__name__.rstrip("_"): recipe for recipe in RECIPES}
