"""The contracts of the loop: a stepper takes steps, callbacks run between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..array_types import FloatArray
    from ..transforms.base import State


class Stepper(Protocol):
    """A way to take the steps between two events (synchronizations and callbacks).

    state       the transform's state, kept up to date in place; goes into checkpoints
    full_batch  it takes all rows at once, an iteration an epoch, as L-BFGS does
    converged   no further step would lower the objective
    """

    @property
    def state(self) -> State: ...

    @property
    def full_batch(self) -> bool: ...

    @property
    def converged(self) -> bool: ...

    def advance(self, weights: FloatArray, step: int, until: int) -> None:
        """Take the updates `step` … `until`-1, and push them to the store.

        weights: what the store's `pull` returned, which stays valid, as stores change
        their weights in place. Collective where a step is. Raises DivergenceError on
        all ranks where a reduced gradient is not finite.
        """

    def next_boundary(self, step: int) -> int:
        """Return the first step from `step` on at which `advance` may end without a
        change of any bit of the result."""

    def warm_up(self) -> None:
        """Compile, or load from the cache, the kernels that `advance` calls."""


class Callback(Protocol):
    """What happens between steps: logging, evaluation, checkpoints, stopping.

    The same steps on all ranks; calls are collective.
    """

    def next(self, step: int) -> float:
        """Return the first step after `step` at which it wants to be called."""

    def __call__(self, step: int, state: State) -> str | None:
        """Act after `step` updates; return the reason to stop the run, or None.

        `state`: the stepper's.
        """
