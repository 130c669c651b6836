"""How to wait for another rank by polling: spin, then yield the core, or sleep."""

import os
import time

from . import environment

SLEEP_SECONDS = 2e-5  # where ranks share a core: after a yield it can be gone for ms
SPIN_LIMIT = 2000  # polls of compiled code, about 20 µs, before the core is yielded
POLLS_PER_PYTHON_POLL = 50  # compiled polls in the time of one in Python


def spin_limit() -> int:
    """Return how many polls to make before yielding; 0 where ranks share cores."""
    return 0 if environment.oversubscribed() else SPIN_LIMIT


def backoff(polls: int, limit: int) -> None:
    """Wait a little after `polls` polls in Python, with the `limit` of `spin_limit`."""
    if limit == 0:
        time.sleep(SLEEP_SECONDS)
    elif polls > limit // POLLS_PER_PYTHON_POLL:
        os.sched_yield()
