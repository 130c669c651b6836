"""Models in formats that are read without this package: scikit-learn, ONNX, NumPy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ...atomic_file import atomic_replace, verify_output
from ...comm import mpi
from ...errors import CheckpointError, DataError, expect
from .. import inference
from .base import Exporter, FeedForward, outputs_of
from .numpy_format import NumpyExporter
from .onnx_format import OnnxExporter
from .sklearn_format import SklearnExporter

if TYPE_CHECKING:
    from ...comm.mpi import Comm

EXPORTERS: dict[str, type[Exporter]] = {
    "sklearn": SklearnExporter,
    "onnx": OnnxExporter,
    "numpy": NumpyExporter,
}
VERIFIED_ROWS = 256
TOLERANCE = {"float64": 1e-6, "float32": 1e-5}


def export(
    folder: str, to: str, output: str, *, comm: Comm, overwrite: bool = False
) -> str:
    """Write a run's model in another format; return how to load it; collective.

    The file is loaded again, and its predictions on random rows are compared with those
    of the model, before it appears. Raises UsageError where the format cannot hold
    the model, or its library is missing.
    """

    def write() -> str:
        expect("--to", to, EXPORTERS)
        model = inference.read(folder)
        exporter = EXPORTERS[to]()
        verify_output(output, [f"{folder}/model.h5"], overwrite=overwrite)
        network = FeedForward.of_model(model)
        with atomic_replace(output, DataError) as temporary:
            with open(temporary, "wb") as file:
                file.write(exporter.to_bytes(network))
            _verify(exporter, network, model, os.fspath(temporary))
            return exporter.how_to_load(os.fspath(temporary), output)

    return mpi.on_root(comm, write)


def _verify(
    exporter: Exporter, network: FeedForward, model: inference.Model, path: str
) -> None:
    """Raise CheckpointError where the written file predicts something else."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(VERIFIED_ROWS, network.n_features))
    if network.mean is not None and network.deviation is not None:
        X = X * network.deviation + network.mean
    X = X.astype(network.dtype)
    expected = outputs_of(model, X)
    actual = exporter.outputs(path, X, network.head)
    tolerance = TOLERANCE[network.dtype.name]
    scale = max(1.0, float(np.abs(expected).max()))
    error = float(np.abs(actual - expected).max()) / scale
    if actual.shape != expected.shape or not error <= tolerance:
        raise CheckpointError(
            f"the exported model differs from the run's by {error:.1e} on random rows, "
            f"expected at most {tolerance:.0e}: nothing was written"
        )
