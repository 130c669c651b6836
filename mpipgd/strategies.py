"""The strategies: each a recipe name -> (transform, store), in one table."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .exchange import each_mean, mean
from .stores import One, Replicas
from .transforms import chain


@dataclass(frozen=True)
class Parts:
    """What a recipe may use: all of it is ready-made for this run and rank."""

    options: Any
    grid: Any
    plan: Any
    steps: int  # of the whole run
    weights: np.ndarray  # (size,) the first ones, the same on all ranks
    optimizer: Any  # mean gradient -> update, with its penalties, clips and rates
    total: Any  # sum over the workers


def sync(parts):
    """synchronous SGD: every step takes the mean gradient of all workers"""
    average_gradient = mean(parts.total, parts.plan.totals())
    store = One(parts.weights, alone=parts.plan.workers == 1)
    return chain(average_gradient, parts.optimizer), store


def average(parts):
    """each worker descends alone; the models are averaged --n-sync times"""
    every, n_sync = parts.options.sync_every, parts.options.n_sync
    due = every_steps(every) if every else evenly(n_sync, parts.steps)
    return _averaged(parts, due)


def oneshot(parts):
    """each worker descends alone; the models are averaged once, at the end"""
    return _averaged(parts, evenly(1, parts.steps))


def _averaged(parts, due):
    grid, plan = parts.grid, parts.plan
    own_mean = each_mean(plan.counts(range(grid.first, grid.last)))
    store = Replicas(parts.weights, parts.total, plan, due)
    return chain(own_mean, parts.optimizer), store


def evenly(n_sync, steps):
    """Return due(step) of n_sync averagings over the run, the last at its end."""

    def due(step):
        done = step * n_sync // steps + 1
        return -(-done * steps // n_sync)

    return due


def every_steps(every):
    """Return due(step) of an averaging at every multiple of `every`."""
    return lambda step: (step // every + 1) * every


STRATEGIES = {recipe.__name__: recipe for recipe in (sync, average, oneshot)}
