"""Strategies ≡ what they must be equal to."""

import numpy as np
import pytest

from mpipgd.comm import mpi
from mpipgd.config.options import TrainConfig
from mpipgd.errors import UsageError
from mpipgd.plan.partition import Disjoint
from mpipgd.stores.strategies import STRATEGIES, evenly_spaced, every_steps

from ..support import descend, problem


class InOrder(Disjoint):
    """A plan whose global batches do not depend on the number of workers.

    Step s of all workers together reads the rows s·B … s·B+B-1; worker k the k-th part
    of them, so its rows lie apart: rows of X are dealt out to the workers beforehand.
    """

    def order(self, epoch, worker):
        """Return the rows as they lie."""
        return np.arange(*self.share(worker))


def dealt(X, y, workers, batch):
    """Return X and y in the order in which InOrder's workers own them."""
    rows = np.arange(len(y)).reshape(-1, workers, batch).swapaxes(0, 1).reshape(-1)
    return X[rows], y[rows]


@pytest.mark.parametrize(
    "classes, model", [(None, "linear"), (2, "linear"), (3, "mlp")]
)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_workers_with_b_rows_equal_one_worker_with_all(comm, classes, model, optimizer):
    header, X, y = problem(classes=classes)
    options = {"model": model, "dtype": "float64", "optimizer": optimizer}
    one = descend(
        comm,
        header,
        X,
        y,
        plan=InOrder(240, 1, 48),
        workers=1,
        batch_size=48,
        **options,
    )
    mine = dealt(X, y, 4, 12)
    four = descend(
        comm,
        header,
        *mine,
        plan=InOrder(240, 4, 12),
        workers=4,
        batch_size=12,
        **options,
    )
    assert np.allclose(four, one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("workers", [2, 3, 7])
@pytest.mark.parametrize("penalty", ["none", "l2"])
def test_averaging_every_step_equals_sync_for_plain_sgd(comm, workers, penalty):
    header, X, y = problem()
    options = {"workers": workers, "penalty": penalty, "batch_size": 16}
    sync = descend(comm, header, X, y, **options)
    average = descend(comm, header, X, y, strategy="average", sync_every=1, **options)
    assert np.allclose(average, sync, rtol=1e-9, atol=1e-12)


def test_averaging_once_equals_oneshot(comm):
    header, X, y = problem()
    once = descend(comm, header, X, y, strategy="average", n_sync=1, workers=5)
    oneshot = descend(comm, header, X, y, strategy="oneshot", workers=5)
    assert once.tobytes() == oneshot.tobytes()


def test_oneshot_is_the_mean_of_workers_that_never_met(comm):
    header, X, y = problem()
    plan = Disjoint(len(y), 4, 32)
    alone = []
    for k in range(4):
        lo, hi = plan.share(k)

        class Only(Disjoint):
            """One worker, with the order of worker k."""

            def order(self, epoch, worker, k=k):
                """Return the order of worker k of four."""
                return plan.order(epoch, k) - plan.share(k)[0]

        args = header, X[lo:hi], y[lo:hi]
        alone.append(
            descend(mpi.comm_self(), *args, plan=Only(hi - lo, 1, 32), workers=1)
        )
    oneshot = descend(comm, header, X, y, strategy="oneshot", workers=4)
    assert np.allclose(oneshot, np.mean(alone, axis=0), rtol=1e-10)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_one_worker_every_strategy_is_serial_sgd(strategy):
    header, X, y = problem()
    serial = descend(mpi.comm_self(), header, X, y, workers=1, kernels="numpy")
    found = descend(
        mpi.comm_self(), header, X, y, workers=1, kernels="numpy", strategy=strategy
    )
    assert found.tobytes() == serial.tobytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_compiled_run_equals_plain_run(strategy, penalty):
    header, X, y = problem(classes=2)
    options = {"strategy": strategy, "penalty": penalty, "alpha": (0.01,)}
    # where workers share a vector, how they take turns is not the same
    options |= {"workers": 1 if strategy in ("hogwild", "async") else 3, "n_sync": 3}
    plain, compiled = (
        descend(mpi.comm_self(), header, X, y, kernels=kernels, **options)
        for kernels in ("numpy", "numba")
    )
    assert np.allclose(plain, compiled, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "steps, n_sync", [(1, 1), (7, 1), (7, 2), (7, 5), (7, 7), (60, 7), (60, 10)]
)
def test_n_sync_counts_averagings_and_ends_with_one(steps, n_sync):
    due, met = evenly_spaced(n_sync, steps), [0]
    while met[-1] < steps:
        met.append(due(met[-1]))
    assert len(met) - 1 == n_sync and met[-1] == steps
    assert np.ptp(np.diff(met)) <= 1


def test_sync_every_is_due_at_its_multiples():
    due = every_steps(5)
    assert [due(step) for step in (0, 4, 5, 9, 10)] == [5, 5, 10, 10, 15]


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="sync, average, .*; did you mean average"):
        TrainConfig(strategy="averag")


def test_more_averagings_than_steps_are_refused():
    header, X, y = problem()
    with pytest.raises(UsageError, match="--n-sync 100: the run has 24 steps"):
        descend(
            mpi.comm_self(), header, X, y, strategy="average", n_sync=100, workers=1
        )
