"""The one loop of all strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..stores.base import Store
    from .base import Callback, Stepper


def train(
    stepper: Stepper, store: Store, callback: Callback, *, steps: int, step: int = 0
) -> tuple[int, str | None]:
    """Take the updates `step` … `steps`-1, or until the callback says stop.

    Store and callback each name the next step at which they have something to do; the
    stepper takes all steps up to it. Returns the number of updates taken by then and
    the callback's reason to stop, or None. Collective.
    """
    reason = None
    while step < steps and reason is None:
        until = int(min(steps, store.next_sync(step), callback.next(step)))
        stepper.advance(store.pull(), step, until)
        step = until
        store.synchronize(step)
        reason = callback(step, stepper.state)
    store.finalize(step)
    return step, reason
