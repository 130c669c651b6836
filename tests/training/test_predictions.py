"""Files of predictions: any format by its ending, ids, splits, and what is refused."""

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from mpipgd import ReadOptions, predict
from mpipgd.comm import mpi
from mpipgd.errors import DataError, UsageError
from mpipgd.training import inference
from mpipgd.training.prediction_files import (
    PredictedRows,
    PredictionLayout,
    open_prediction_file,
)

from .test_metrics import trained

READERS = {
    ".csv": lambda path: pd.read_csv(path),
    ".tsv": lambda path: pd.read_csv(path, sep="\t"),
    ".parquet": lambda path: pa.parquet.read_table(path).to_pandas(),
    ".arrow": lambda path: pa.feather.read_table(path).to_pandas(),
    ".feather": lambda path: pa.feather.read_table(path).to_pandas(),
}


def change(comm, path, function):
    """Let rank 0 change a data file."""

    def act():
        with h5py.File(path, "r+") as file:
            function(file)

    mpi.on_root(comm, act)


def add_ids(file):
    """Give all rows an id."""
    for split in ("train", "test"):
        n = len(file[f"{split}/y"])
        ids = [f'{split}, "{i}" é' for i in range(n)]
        file.create_dataset(f"{split}/id", data=ids, dtype=h5py.string_dtype())


def expected(home, data, split):
    """Return labels or values, outputs and probabilities, computed at once."""
    model = inference.read(home)
    with h5py.File(data) as file:
        X = file[f"{split}/X"][...].astype(model.objective.dtype)
    if model.scaling:
        X = (X - model.scaling.mean) / model.scaling.deviation
    if model.objective.intercept:
        X = np.column_stack([X, np.ones(len(X), X.dtype)])
    output = model.objective.output(model.weights, X)
    p = model.objective.predict(model.weights, X)
    classes = model.header.classes
    p = np.array(classes, dtype=object)[p] if classes else p
    return p, output, model.probability(output)


@pytest.mark.diagonal
@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("n_classes", [None, 2, 3])
def test_tables_are_read_back_exactly(comm, folder, agree, ending, n_classes):
    home, data = trained(comm, folder, n_classes)
    change(comm, data, add_ids)
    change(comm, data, lambda file: [file.pop("train/y"), file.pop("test/y")])
    out = folder / f"out{ending}"
    more = {"probabilities": n_classes is not None, "id_column": "key"}
    rows = predict(home, data, out, comm=comm, **more)
    comm.Barrier()
    table = READERS[ending](out)
    agree(len(table) == sum(rows.values()), comm)
    for split, n in rows.items():
        own = table[table["split"] == split].reset_index()
        p, output, probability = expected(home, data, split)
        agree(list(own["key"]) == [f'{split}, "{i}" é' for i in range(n)], comm)
        if n_classes is None:
            agree(np.allclose(own["prediction"], p, rtol=1e-12), comm)
        else:
            agree(list(own["prediction"]) == list(p), comm)
            columns = own[[f"class {c}" for c in range(n_classes)]].to_numpy()
            agree(np.allclose(columns, probability, rtol=1e-12, atol=1e-15), comm)
    with_hdf5 = folder / "out.h5"
    predict(home, data, with_hdf5, comm=comm, split="test", id_column="key")
    comm.Barrier()
    own = table[table["split"] == "test"]
    with h5py.File(with_hdf5) as file:
        agree(list(file) == ["test"], comm)
        agree(list(file["test/id"].asstr()) == list(own["key"]), comm)
        if n_classes is None:
            agree(np.array_equal(file["test/prediction"], own["prediction"]), comm)
        else:
            columns = own.iloc[:, -n_classes:].to_numpy()
            agree(np.array_equal(file["test/probability"], columns), comm)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".h5"])
def test_a_file_is_the_same_on_any_number_of_ranks(comm, folder, agree, ending):
    home, data = trained(comm, folder, 3)
    outs = [folder / f"{name}{ending}" for name in ("all", "one")]
    predict(home, data, outs[0], comm=comm)
    mpi.on_root(
        comm, lambda: predict(home, data, outs[1], comm=mpi.comm_self()) and None
    )
    if ending == ".h5":
        with h5py.File(outs[0]) as one, h5py.File(outs[1]) as other:
            same = np.array_equal(one["test/output"], other["test/output"])
    else:
        same = outs[0].read_bytes() == outs[1].read_bytes()
    agree(same, comm)


def test_other_files_are_predicted_without_labels(comm, folder, agree):
    home, data = trained(comm, folder, 3)
    change(comm, data, lambda file: file.attrs.pop("format"))
    rows = predict(
        home, data, folder / "o.csv", comm=comm, read_options=ReadOptions(x="train/X")
    )
    agree(rows["train"] > 0, comm)


def test_what_predict_refuses(comm, folder, agree):
    home, data = trained(comm, folder, 2, loss="hinge")
    out, link = folder / "out.csv", folder / "link.h5"
    mpi.on_root(comm, lambda: out.write_text("mine") and link.hardlink_to(data))
    for arguments, message in (
        ((out,), "exists already"),
        ((data,), "is read from"),
        ((link,), "is read from"),
        ((home / "model.h5",), "is read from"),
        ((folder / "o.xls",), "expected one of .csv, .tsv"),
        ((folder / "o",), "no ending"),
        ((folder / "o.csv", "--probabilities"), "its loss is hinge"),
        ((folder / "o.csv", "--split"), "expected one of all, train, test"),
    ):
        more = {"overwrite": arguments[0] != out}
        more |= {"probabilities": True} if "--probabilities" in arguments else {}
        more |= {"split": "valid"} if "--split" in arguments else {}
        before = data.read_bytes()
        with pytest.raises(UsageError, match=message) as caught:
            predict(home, data, arguments[0], comm=comm, **more)
        agree(caught.value.agreed and data.read_bytes() == before, comm)
    with pytest.raises(DataError, match="has no train/id"):
        predict(home, data, folder / "o.csv", comm=comm, id_column="id")
    comm.Barrier()
    agree(not (folder / "o.csv").exists() and out.read_text() == "mine", comm)
    with pytest.raises(UsageError, match="named 'prediction'"):
        predict(home, data, folder / "o.csv", comm=comm, id_column="prediction")


def test_a_table_has_a_column_for_each_target(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 2))
    layout = PredictionLayout({"test": 5}, None, False, None, n_targets=2)
    with open_prediction_file(str(tmp_path / "out.csv"), layout) as file:
        file.write("test", 0, [PredictedRows(values, values, None)])
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table) == ["prediction_1", "prediction_2"]
    assert np.array_equal(table.to_numpy(), values)
