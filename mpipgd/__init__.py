"""Parallel gradient descent for people with MPI."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "TrainConfig": "config.options",
    "train": "training.run",
    "resume": "training.run",
    "predict": "training.inference",
    "evaluate": "training.inference",
    "Grid": "comm.topology",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    # on first use, so that importing the package starts neither MPI nor numpy
    if name not in _HOMES:
        raise AttributeError(f"module 'mpipgd' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
