"""The sets that come with scikit-learn, read from its files without importing it.

Importing sklearn.datasets takes about a second; its CSV files take milliseconds.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..hdf5.header import Header

MEASURES = ("radius", "texture", "perimeter", "area", "smoothness", "compactness")
MEASURES += ("concavity", "concave points", "symmetry", "fractal dimension")
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
FILES = {"breast_cancer": "breast_cancer.csv", "wine": "wine_data.csv"}
FILES |= {"iris": "iris.csv", "digits": "digits.csv.gz"}


def load_bundled(name):
    """Return (header, X, y) of a set; features raw, as scikit-learn's files hold them.

    X (n, d) float64; y (n,) class numbers, or float64 for diabetes (whose features
    scikit-learn scales by default; `load_diabetes(scaled=False)` is the same as here).
    """
    folder = _folder()
    if name == "diabetes":
        X = _read(folder / "diabetes_data_raw.csv.gz", None)
        y = _read(folder / "diabetes_target.csv.gz", None)
        return _header(name, X, "regression", None), X, y
    table = _read(folder / FILES[name], ",", skip=name != "digits")
    labels = tuple(range(10)) if name == "digits" else _labels(folder / FILES[name])
    X, y = table[:, :-1], table[:, -1].astype(np.int64)
    task = "binary" if len(labels) == 2 else "multiclass"
    return _header(name, X, task, labels), X, y


def _folder():
    spec = importlib.util.find_spec("sklearn")
    if spec is None:
        raise DataError("the bundled data sets need scikit-learn: install scikit-learn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


def _read(path, delimiter, *, skip=False):
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return np.loadtxt(file, delimiter=delimiter, skiprows=int(skip))
    except OSError as error:
        raise DataError(f"{path}, a part of scikit-learn, is unreadable") from error


def _labels(path):
    with open(path, encoding="utf-8") as file:
        return tuple(file.readline().strip().split(",")[2:])


def _header(name, X, task, classes):
    return Header(
        task,
        X.shape[1],
        classes=classes,
        feature_names=FEATURES[name],
        target="target",
        source=f"scikit-learn {name}",
    )
