"""From a table to predictions in three commands, equal to scikit-learn's pipeline."""

import numpy as np
import pandas as pd

from mpipgd import predict, train
from mpipgd.comm import mpi
from mpipgd.data.create.example_table import ENERGY, write_example_table

from ..support import options

SELF = mpi.comm_self()
LEVELS = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
OPTIMUM = {"optimizer": "lbfgs", "epochs": 400, "tol": 0.0, "penalty": "l2"}


def test_three_commands_lead_from_a_table_to_predictions(tmp_path, monkeypatch, mpipgd):
    monkeypatch.chdir(tmp_path)
    write_example_table("houses.csv")
    for command in (
        "houses.csv --label price --drop-column id --missing median --run runs/houses "
        "--ordinal energy=G<F<E<D<C<B<A",
        "evaluate runs/houses houses.csv",
        "predict runs/houses houses.csv --id id -o predictions.csv",
    ):
        code, _, err = mpipgd(*command.split())
        assert code == 0, err
    table, found = pd.read_csv("houses.csv"), pd.read_csv("predictions.csv")
    assert found["id"].tolist() == table["id"].tolist()
    residual = table["price"] - found["prediction"]
    assert residual.var() < 0.1 * table["price"].var()


def pipeline(table, label, ordinal, estimator):
    """Return scikit-learn's imputers, encoders and scaler before an estimator."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    features = [name for name in table if name != label]
    numbers = [n for n in features if pd.api.types.is_numeric_dtype(table[n])]
    texts = [name for name in features if name not in numbers and name not in ordinal]
    frequent = SimpleImputer(strategy="most_frequent")
    ordered = OrdinalEncoder(categories=list(ordinal.values()))
    one_hot = OneHotEncoder(sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), numbers),
            ("ordinal", make_pipeline(frequent, ordered), list(ordinal)),
            ("texts", make_pipeline(frequent, one_hot), texts),
        ]
    )
    return make_pipeline(columns, StandardScaler(), estimator)


def training_rows(n, test_size=0.2):
    """Return the rows that an import with seed 0 takes for training."""
    order = np.random.default_rng(0).permutation(n)
    return np.flatnonzero(order < n - round(n * test_size))


def compare(tmp_path, table, label, ordinal, estimator, alpha):
    """Return our predictions or probabilities, and scikit-learn's, of a whole table."""
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    config = options(
        path,
        tmp_path / "runs" / "r",
        label=label,
        missing="median",
        ordinal=tuple(f"{name}={'<'.join(of)}" for name, of in ordinal.items()),
        alpha=(alpha,),
        **OPTIMUM,
    )
    train(config, comm=SELF)
    out = str(tmp_path / "p.csv")
    is_classes = not pd.api.types.is_numeric_dtype(table[label])
    predict(config.run, str(path), out, comm=SELF, probabilities=is_classes)
    rows = table.iloc[training_rows(len(table))]
    model = pipeline(table, label, ordinal, estimator(alpha, len(rows)))
    model.fit(rows.drop(columns=label), rows[label])
    ours = pd.read_csv(out)
    if not is_classes:
        return ours["prediction"], model.predict(table.drop(columns=label))
    expected = model.predict_proba(table.drop(columns=label))
    return ours[list(model.classes_)].to_numpy(), expected


def ridge(alpha, n):
    from sklearn.linear_model import Ridge

    return Ridge(alpha=alpha * n)  # Σ (y - f)² + α n ‖w‖²


def logistic(alpha, n):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1 / (alpha * n), tol=1e-10, max_iter=10_000)


def houses(tmp_path):
    write_example_table(str(tmp_path / "houses.csv"))
    table = pd.read_csv(tmp_path / "houses.csv")
    table["sold"] = (pd.to_datetime(table["sold"]) - pd.Timestamp(0)).dt.days
    return table.drop(columns="id")


def test_regression_is_that_of_a_pipeline(tmp_path):
    ordinal = {"energy": list(ENERGY)}
    ours, expected = compare(tmp_path, houses(tmp_path), "price", ordinal, ridge, 1e-3)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_classification_is_that_of_a_pipeline(tmp_path):
    table = houses(tmp_path)
    table["price"] = np.where(table["price"] > 400_000, "dear", "cheap")
    ordinal = {"energy": list(ENERGY)}
    ours, expected = compare(tmp_path, table, "price", ordinal, logistic, 1e-3)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_diamonds_are_those_of_a_pipeline(tmp_path, real):
    table = pd.read_csv(real / "diamonds.csv.gz").sample(6000, random_state=0)
    ours, expected = compare(tmp_path, table, "price", LEVELS, ridge, 1e-3)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * expected.std())
