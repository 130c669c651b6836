"""Training over all rows at once by L-BFGS: from the start, or after SGD (`--then`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..transforms.lbfgs import Lbfgs, full_objective
from .steppers import warm_up_gradients

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..comm.base import Allreduce
    from ..config.options import TrainConfig
    from ..data.base import Split
    from ..objectives.base import Objective
    from ..plan.base import Plan


def expect_smooth(options: TrainConfig, objective: Objective) -> None:
    """Raise UsageError where the objective has a kink, which L-BFGS cannot handle."""
    flag = "--then" if options.then else "--optimizer"
    if options.many:
        raise UsageError(f"{flag} lbfgs takes one setting, no --many", agreed=True)
    if objective.l1_weights is not None:
        penalty = f"--penalty {options.penalty}"
        raise UsageError(
            f"{flag} lbfgs takes no l1 penalty, found {penalty}", agreed=True
        )
    if not objective.smooth:
        kink = "relu" if objective.activation == "relu" else objective.loss
        raise UsageError(
            f"{flag} lbfgs takes smooth functions, found {kink}", agreed=True
        )
    if options.optimizer == "lbfgs" and options.strategy != "sync":
        raise UsageError(
            f"--optimizer lbfgs takes --strategy sync, found {options.strategy}; other "
            "strategies can come before it: --then lbfgs",
            agreed=True,
        )


class LbfgsStepper:
    """Iterations of L-BFGS, each taken in the last step of an epoch.

    An iteration reads every row once or, where its line search is long, more often.
    """

    full_batch = True

    def __init__(
        self, objective: Objective, rows: Split, plan: Plan, allreduce: Allreduce
    ) -> None:
        self.objective, self.rows, self.plan = objective, rows, plan
        function = full_objective(objective, rows, plan.rows, allreduce)
        self.solver = Lbfgs(function, objective.size)
        self.state = self.solver.state

    @property
    def converged(self) -> bool:
        """Whether no further iteration would lower the objective."""
        return self.solver.converged

    def advance(self, weights: FloatArray, step: int, until: int) -> None:
        steps = self.plan.steps
        for epoch_end in range(step // steps + 1, until // steps + 1):
            if not self.solver.converged:
                self.solver.iterate(weights[0], epoch_end * steps - 1, steps)

    def next_boundary(self, step: int) -> int:
        return step

    def warm_up(self) -> None:
        warm_up_gradients(self.objective, self.rows)
