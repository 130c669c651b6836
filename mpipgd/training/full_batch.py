"""A descent over all rows at once: the whole of a run, or its finish (`--then`)."""

from functools import partial

import numpy as np

from ..comm.allreduce import make_allreduce
from ..errors import UsageError
from ..stores.base import SharedWeights
from ..transforms.lbfgs import Lbfgs, full_objective
from ..transforms.optimizers import IDENTITY, Transform
from .build import TrainingComponents, warm_up


def expect_smooth(options, objective):
    """Raise UsageError where the objective has a kink that L-BFGS cannot know of."""
    flag = "--then" if options.then else "--optimizer"
    if options.many:
        raise UsageError(f"{flag} lbfgs takes one setting, no --many", agreed=True)
    if objective.l1_weights is not None:
        found = f"--penalty {options.penalty}"
        raise UsageError(
            f"{flag} lbfgs takes no l1 penalty, found {found}", agreed=True
        )
    if not objective.smooth:
        found = objective.activation or objective.loss
        raise UsageError(
            f"{flag} lbfgs takes smooth functions, found {found}", agreed=True
        )
    if options.optimizer == "lbfgs" and options.strategy != "sync":
        raise UsageError(
            f"--optimizer lbfgs takes --strategy sync, found {options.strategy}; other "
            "strategies can come before it: --then lbfgs",
            agreed=True,
        )


def build_full_batch(options, grid, plan, objective, data, clock, weights):
    """Return the parts of a descent by L-BFGS from weights that are alike on all ranks.

    An iteration is taken in the last step of an epoch, for it reads every row once or,
    where its search is long, more often.
    """
    args = grid, clock, objective.size, objective.dtype
    summed = make_allreduce(*args, compiled=objective.compiled)
    method = Lbfgs(full_objective(objective, data.train, plan.rows, summed))
    store = SharedWeights(weights)

    def descend(w, step, until):
        for end in range(step // plan.steps + 1, until // plan.steps + 1):
            if not method.converged:
                method.iterate(w[0], end * plan.steps - 1, plan.steps)

    return TrainingComponents(
        steps=plan.steps * options.epochs,
        rate=np.ones_like,
        gradient=None,
        transform=Transform(lambda w: method.init(w[0]), IDENTITY.update),
        store=store,
        descend=descend,
        total=summed,
        warm_up=partial(warm_up, objective, data.train),
        whole=lambda step: step,
        solver=method,
    )
