"""How to wait for another rank by looking: awake, then offering the core, or asleep."""

import os
import time

from . import environment

SLEEP_SECONDS = 2e-5  # seconds; yielding the core instead keeps others waiting for ms
SPIN_LIMIT = 2000  # about 20 µs of looking before a rank leaves its core to another


def spin_limit():
    """Return how often to look without a nap: never where ranks share their cores."""
    return 0 if environment.oversubscribed() else SPIN_LIMIT


def backoff(looked, spins):
    """Wait a little, after having looked so often; a look in Python takes 50 spins."""
    if spins == 0:
        time.sleep(SLEEP_SECONDS)
    elif looked > spins // 50:
        os.sched_yield()
