"""Parallel gradient descent for people with MPI."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comm.topology import Grid
    from .config.options import TrainConfig
    from .training.inference import ReadOptions, evaluate, predict
    from .training.run import resume, train

__version__ = "0.1.0"

__all__ = [
    "Grid",
    "ReadOptions",
    "TrainConfig",
    "__version__",
    "evaluate",
    "predict",
    "resume",
    "train",
]

LAZY_IMPORTS = {  # public name -> module that defines it
    "TrainConfig": "config.options",
    "train": "training.run",
    "resume": "training.run",
    "predict": "training.inference",
    "evaluate": "training.inference",
    "ReadOptions": "training.inference",
    "Grid": "comm.topology",
}


def __getattr__(name: str) -> Any:
    # on first use, so that importing the package loads neither MPI nor numpy
    if name not in LAZY_IMPORTS:
        raise AttributeError(f"module 'mpipgd' has no attribute {name!r}")
    return getattr(import_module(f".{LAZY_IMPORTS[name]}", __name__), name)
