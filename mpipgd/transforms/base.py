"""The contract of a transform: gradient -> update, for each replica by itself.

Gradients, updates and weights have shape (replicas, size). A transform works in the
memory of the gradient, which the caller gives away, and in its own state: a dict of
arrays, or for a chain a tuple of such, whose first axis is the replicas, or 0-d where
all replicas share one value. So a checkpoint is a dump of `flatten(state)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from ..array_types import Array, FloatArray

State: TypeAlias = "dict[str, Array] | tuple[State, ...]"


class Init(Protocol):
    """init(weights) -> state."""

    def __call__(self, weights: FloatArray, /) -> State:
        """Return the state before the first update; its arrays belong to the caller."""


class Update(Protocol):
    """update(gradient, state, weights) -> (update, state)."""

    def __call__(
        self, gradient: FloatArray, state: State, weights: FloatArray, /
    ) -> tuple[FloatArray, State]:
        """Return what to add to the weights, and the state after it.

        The update lies in the memory of the gradient, or of the transform; arrays of
        the state are changed in place. `weights` are only read. Raises DivergenceError
        on all ranks where a reduced gradient is not finite.
        """


class Transform(NamedTuple):
    """A pair of functions, as in optax; see `Init` and `Update`."""

    init: Init
    update: Update


def stateless(
    function: Callable[[FloatArray, FloatArray], FloatArray],
) -> Transform:
    """Return the transform of a function (gradient, weights) -> update."""
    return Transform(lambda w: {}, lambda g, state, w: (function(g, w), state))


IDENTITY = stateless(lambda g, w: g)


def chain(*transforms: Transform) -> Transform:
    """Return the transform that applies these in turn; identities are left out."""
    links = [transform for transform in transforms if transform is not IDENTITY]
    if len(links) < 2:
        return links[0] if links else IDENTITY
    updates = [link.update for link in links]

    def init(weights: FloatArray) -> State:
        return tuple(link.init(weights) for link in links)

    def update(g: FloatArray, states: State, w: FloatArray) -> tuple[FloatArray, State]:
        for apply, state in zip(updates, states):
            g, _ = apply(g, state, w)  # type: ignore[arg-type]  # one a link
        return g, states

    return Transform(init, update)


def flatten(state: State) -> dict[str, Array]:
    """Return path -> array for a state, such as "0/velocity"."""
    if isinstance(state, dict):
        return dict(state)
    return {
        f"{index}/{path}": array
        for index, link_state in enumerate(state)
        for path, array in flatten(link_state).items()
    }
