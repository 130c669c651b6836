"""One vector of weights for all workers: the verbs of every store."""

import math


class SharedWeights:
    """One replica for all workers: every rank holds the same (1, size) weights."""

    independent = False  # does nobody else push between two meetings?
    per_worker = (
        False  # is there an update, and a state of the transform, for each worker?
    )

    def __init__(self, weights, *, alone=False):
        self.weights = weights[None].copy()
        self.independent = alone

    def pull(self):
        """Return the weights to read, (replicas, size); they change in place."""
        return self.weights

    def push(self, update):
        """Add an update of the same shape."""
        self.weights += update

    def descent(self, objective):
        """Return the objective's compiled pass over many steps, where they need nobody.

        It is called as `objective.sgd_steps` on the rows of `pull`; None: step by step.
        """
        return objective.sgd_steps if self.independent and objective.compiled else None

    def next(self, step):
        """Return the step at which the workers meet next: never, as they never part."""
        return math.inf

    def synchronize(self, step):
        """Meet the others if it is time; return whether they met."""
        return False

    def consensus(self, step):
        """Return the one model (size,) there is after `step` updates; collective."""
        return self.weights[0]

    def replicas(self, step):
        """Return the models of the hosted workers (hosted, size), or None without any.

        Where an averaging fell on this step, those just before it.
        """
        return None

    def finalize(self, step):
        """Leave every replica at the consensus; collective."""

    def worker_arrays(self):
        """Return name -> array with a row a hosted worker, for checkpoints."""
        return {}

    def replicated_arrays(self):
        """Return name -> array that is the same on all ranks; collective."""
        return {"weights": self.weights}

    def restore(self, step):
        """Go on after `step` updates with arrays that were filled in; collective."""

    def summary(self):
        """Return what the summary of a run says of the store; collective."""
        return {}

    def free(self):
        """Free what the ranks share; collective."""
