"""Parallel gradient descent for people with MPI."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "Train": "options",
    "train": "run",
    "resume": "run",
    "predict": "model",
    "evaluate": "model",
    "Grid": "grid",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    # on first use, so that importing the package starts neither MPI nor numpy
    if name not in _HOMES:
        raise AttributeError(f"module 'mpipgd' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
