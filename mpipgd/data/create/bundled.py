"""The data sets that come with scikit-learn, read from its files.

Importing sklearn.datasets takes about a second; reading its CSV files milliseconds.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...comm import mpi
from ...errors import DataError, MpipgdError
from ...reporting.progress import Progress
from ..hdf5.header import Header
from .external_shuffle import permuted_reader
from .split import ShardLayout, output_files, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...array_types import Array, FloatArray
    from ...comm.mpi import Comm

MEASURES = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness",
    "concavity", "concave points", "symmetry", "fractal dimension",
)  # fmt: skip
FEATURES = {
    "digits": tuple(f"pixel_{i}_{j}" for i in range(8) for j in range(8)),
    "diabetes": ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
    "breast_cancer": (
        *(f"mean {name}" for name in MEASURES),
        *(f"{name} error" for name in MEASURES),
        *(f"worst {name}" for name in MEASURES),
    ),
    "wine": (
        *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium"),
        *("total_phenols", "flavanoids", "nonflavanoid_phenols", "proanthocyanins"),
        *("color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"),
    ),
    "iris": ("sepal length (cm)", "sepal width (cm)")
    + ("petal length (cm)", "petal width (cm)"),
}
BUNDLED = tuple(FEATURES)
FILES = {
    "breast_cancer": "breast_cancer.csv",
    "wine": "wine_data.csv",
    "iris": "iris.csv",
    "digits": "digits.csv.gz",
}


def load_bundled(name: str) -> tuple[Header, FloatArray, Array]:
    """Return (header, X, y) of a bundled set, with unscaled features.

    X (n, d) float64; y (n,) class numbers, or float64 for diabetes (whose features
    scikit-learn scales by default; `load_diabetes(scaled=False)` is the same as here).
    """
    folder = _folder()
    if name == "diabetes":
        X = _read(folder / "diabetes_data_raw.csv.gz", None)
        y = _read(folder / "diabetes_target.csv.gz", None)
        return _header(name, X, "regression", None), X, y
    table = _read(folder / FILES[name], ",", skip=name != "digits")
    labels: tuple[Any, ...] = tuple(range(10))
    if name != "digits":
        labels = _labels(folder / FILES[name])
    X, y = table[:, :-1], table[:, -1].astype(np.int64)
    task = "binary" if len(labels) == 2 else "multiclass"
    return _header(name, X, task, labels), X, y


def path_of(data: str, folder: Path) -> str:
    """Return the path of the data; a bundled set is written into a folder, once.

    Serial. A path stays as it is, also where it has the name of a bundled set.
    """
    if data not in BUNDLED or Path(data).exists():
        return data
    path = folder / "data.h5"
    if not path.exists():
        make_bundled(data, path)
    return str(path)


@contextlib.contextmanager
def bundled_path(comm: Comm, data: str) -> Iterator[str]:
    """Yield the path of the data; a bundled set is in a temporary folder for a block.

    Every node has it under the same path. Collective, also at the end of the block.
    """
    if data not in BUNDLED or Path(data).exists():
        yield data
        return
    folder = Path(mpi.on_root(comm, partial(tempfile.mkdtemp, prefix="mpipgd-")))
    node = mpi.split_by_node(comm)
    temporary = mpi.root_else(node, folder, None)
    try:
        mpi.on_root(node, _write_if_missing, data, folder)
        path = path_of(data, folder)
        with mpi.raise_collectively(comm):  # all ranks have read it at the end
            try:
                yield path
            except MpipgdError as error:  # by the name that the user knows
                text = str(error).replace(path, data)
                raise type(error)(text, agreed=error.agreed) from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        node.Free()


def _write_if_missing(data: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)  # rank 0 has made it on its node
    path_of(data, folder)


def make_bundled(
    name: str,
    out: str | Path,
    *,
    test_size: float = 0.2,
    seed: int = 0,
    shards: int = 1,
    overwrite: bool = False,
) -> None:
    """Write a bundled data set, its rows shuffled by the seed; serial."""
    header, X, y = load_bundled(name)
    split = ShardLayout(len(y), test_size, shards)
    files = output_files(out, shards, overwrite=overwrite)
    order = np.random.default_rng(seed).permutation(len(y))
    read = permuted_reader(X, y, split.destinations(order), header)
    write_files(files, header, split, read, Progress(len(y), name, stream=None))


def _folder() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the bundled data sets need scikit-learn: install scikit-learn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _read(path: Path, delimiter: str | None, *, skip: bool = False) -> FloatArray:
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return np.loadtxt(file, delimiter=delimiter, skiprows=int(skip))
    except OSError as error:
        raise DataError(f"{path}, a part of scikit-learn, is unreadable") from error


def _labels(path: Path) -> tuple[str, ...]:
    with open(path, encoding="utf-8") as file:
        return tuple(file.readline().strip().split(",")[2:])


def _header(
    name: str, X: FloatArray, task: str, classes: tuple[Any, ...] | None
) -> Header:
    return Header(
        task,
        X.shape[1],
        classes=classes,
        feature_names=FEATURES[name],
        target="target",
        source=f"scikit-learn {name}",
    )
