"""report.html: from the files of a run folder alone, and true to them."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.data.hdf5.source import create
from mpipgd.errors import DivergenceError, UsageError
from mpipgd.reporting import report, run_page
from mpipgd.training import inference

from ..support import options, problem


class Page(HTMLParser):
    """The texts of a page by tag, what it would load, and whether all tags close."""

    def __init__(self, path):
        super().__init__()
        self.open, self.loads, self.texts = [], [], {}
        self.feed(path.read_text())
        assert not self.open and not self.loads

    def handle_starttag(self, tag, attributes):
        self.loads += [v for k, v in attributes if k in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def headings(self):
        """The headings of its sections."""
        return self.texts["h2"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The folder of a run with classes, and scores of the workers."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    more = {"strategy": "average", "worker_scores": True, "picture": True}
    train(options("digits", folder, workers=2, **more), comm=mpi.comm_self())
    return folder


def test_the_page_is_made_again_from_the_folder(digits):
    before = (digits / "report.html").read_text()
    (digits / "report.html").unlink()
    lines = report.report([digits], html=True)
    assert lines[-1] == f"look at {digits}/report.html"
    assert (digits / "report.html").read_text() == before


def test_the_page_says_what_ran(digits):
    page = Page(digits / "report.html")
    summary = json.loads((digits / "summary.json").read_text())
    text = " ".join(page.texts["p"])
    assert "average: 2 workers on 1 rank" in text
    assert f"test accuracy is {summary['score']:.4f}" in text
    assert {"Losses", "Test accuracy", "Largest coefficients"} <= set(page.headings)
    assert "training objective" in page.texts["text"]
    charts = [json.loads(text) for text in page.texts["script"] if text[0] == "{"]
    names = [[series["name"] for series in chart["series"]] for chart in charts]
    assert names[1] == ["workers' own models"] * 2 + ["test accuracy"]
    assert {"Scores on the test rows", "ROC curves (test rows)"} <= set(page.headings)
    matrix = np.array(
        json.loads((digits / "evaluation.json").read_text())["test"]["confusion"]
    )
    assert np.trace(matrix) / matrix.sum() == pytest.approx(summary["score"])


def test_coefficients_are_the_largest_of_the_model(digits):
    page = Page(digits / "report.html")
    model = inference.read(str(digits))
    coef = model.weights[: 64 * 10].reshape(64, 10)
    with h5py.File(digits / "model.h5") as file:
        np.testing.assert_array_equal(coef, file["weights/coef"][...])
    order = np.argsort(-abs(coef).max(axis=1), kind="stable")[: run_page.LARGEST]
    names = [name for name in page.texts["td"] if name.startswith("pixel")]
    assert names == [model.header.feature_names[k] for k in order]


@pytest.fixture
def page_of(digits, tmp_path):
    """Return a function: the page of a copy of the run with another evaluation."""

    def make(**part):
        run = tmp_path / "run"
        shutil.copytree(digits, run, dirs_exist_ok=True)
        (run / "evaluation.json").write_text(json.dumps({"test": part}))
        return Page(run_page.write_run_page(run))

    return make


def test_evaluations_are_shown_where_they_are(page_of):
    page = page_of(
        rows=3000,
        metrics={"accuracy": 0.8, "log_loss": None},
        classes=["no", "yes"],
        by_class=[{"label": "no", "rows": 6, "precision": None}],
        confusion=[[5, 1.25], [2, 7]],
        roc=[{"label": "yes", "fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1], "auc": 0.7}],
        predicted_true=[{"target": "price", "pairs": [[1.5, 1.0], [9.0, 2.5]]}],
        notes=["one class has no rows"],
    )
    assert {
        "Confusion matrix (test rows)", "ROC curve (test rows)",
        "Predicted against true price (test rows)", "Scores by class (test rows)",
    } <= set(page.headings)  # fmt: skip
    assert {"accuracy", "0.8000", "–", "1.25"} <= set(page.texts["td"])
    assert "log-loss" not in page.texts["td"]
    assert "One class has no rows." in page.texts["p"]
    text = " ".join(page.texts["figcaption"])
    assert "Positive class: yes. Area under the curve: 0.7000." in text
    assert "A random sample of 2 of the 3,000 test rows." in text
    assert "1 prediction beyond the axis" in text
    assert "yes" in page.texts["span"]


def test_several_targets_have_scores_of_their_own(page_of):
    targets = [{"target": "a", "r2": 0.5}, {"target": "b", "r2": None}]
    page = page_of(rows=3, by_target=targets)
    assert "Scores by target (test rows)" in page.headings
    assert page.texts["td"][:4] == ["a", "0.5000", "b", "–"]


def test_a_page_without_evaluation_says_so(digits, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    (run / "evaluation.json").unlink()
    page = Page(run_page.write_run_page(run))
    assert "not evaluated for this page" in " ".join(page.texts["p"])


def test_many_classes_have_their_most_frequent_mistakes(page_of):
    mistake = {"true": "b", "predicted": "d", "rows": 3.0}
    page = page_of(rows=10, classes=list("abcd"), confused=[mistake])
    assert "Most frequent mistakes (test rows)" in page.headings
    assert page.texts["td"][:3] == ["b", "d", "3"]
    assert not any("Confusion" in heading for heading in page.headings)


def test_names_of_the_data_are_no_html(page_of):
    evil = "<script>alert(1)</script>"
    page = page_of(
        metrics={"accuracy": 1.0},
        classes=[evil, "b"],
        confusion=[[1, 0], [0, 1]],
        by_class=[{"label": evil, "rows": 1, "precision": 1.0}],
        roc=[{"label": evil, "fpr": [0, 1], "tpr": [0, 1], "auc": 0.5}],
        predicted_true=[{"target": evil, "pairs": [[1.0, 2.0]]}],
        notes=[evil],
    )
    assert not any("alert" in text for text in page.texts["script"] if text[0] != "{")
    assert evil in page.texts["td"] and evil in page.texts["span"]


@pytest.mark.parametrize("part", [{"confusion": 3}, {"roc": [{}]}, {"metrics": [1]}])
def test_a_damaged_evaluation_is_refused(page_of, part):
    with pytest.raises(UsageError, match="run folder"):
        page_of(**part)


def test_validation_has_a_curve_of_its_own(digits, tmp_path):
    path = digits / "metrics.jsonl"
    before = path.read_text()
    records = map(json.loads, before.splitlines())
    lines = [
        json.dumps(r | {"validation_loss": 0.5} if r["event"] == "epoch" else r)
        for r in records
    ]
    path.write_text("\n".join(lines) + "\n")
    run_page.write_run_page(digits)
    assert "validation objective" in Page(digits / "report.html").texts["text"]
    path.write_text(before)
    run_page.write_run_page(digits)


def test_its_commands_work_as_printed(digits, tmp_path, monkeypatch, mpipgd):
    monkeypatch.chdir(tmp_path)
    lines = Page(digits / "report.html").texts["code"]
    words = [shlex.split(line) for line in lines]
    assert [w[w.index("mpipgd") + 1] for w in words] == [
        "train", "evaluate", "predict", "coef", "report",
    ]  # fmt: skip
    for command in words[1:]:
        code, _, err = mpipgd(*command[command.index("mpipgd") + 1 :])
        assert code == 0, err
    assert (tmp_path / "predictions.csv").exists()


def test_without_a_picture_there_is_no_page(tmp_path):
    train(options("wine", tmp_path / "run", workers=1), comm=mpi.comm_self())
    assert not (tmp_path / "run/report.html").exists()
    assert not (tmp_path / "run/loss.png").exists()


def test_a_sweep_has_a_table_of_its_settings(tmp_path):
    run = tmp_path / "run"
    more = {"many": "lr=1e6,0.1,0.01", "picture": True, "workers": 1}
    train(options("breast_cancer", run, **more), comm=mpi.comm_self())
    page = Page(run / "report.html")
    assert "The 3 settings of --many" in page.headings
    first = page.texts["td"].index("0.1")
    assert page.texts["td"][first + 3] == "chosen"
    assert "diverged" in page.texts["td"]


def test_a_run_that_diverged_says_so(digits, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    summary = json.loads((run / "summary.json").read_text())
    changes = {"climbed": True, "start_loss": 2.5}
    (run / "summary.json").write_text(json.dumps(summary | changes))
    text = " ".join(Page(run_page.write_run_page(run)).texts["p"])
    assert "The run diverged: its training objective was 2.500" in text


def test_a_run_that_an_error_ends_has_a_page(tmp_path):
    run = tmp_path / "run"
    more = {"picture": True, "workers": 1, "lr": 1e9, "epochs": 9}
    with pytest.raises(DivergenceError):
        train(options("diabetes", run, **more), comm=mpi.comm_self())
    page = Page(run / "report.html")
    text = " ".join(page.texts["p"])
    assert "It ended by an error: the last evaluation was after epoch" in text
    assert "Diverged: the " in text and "is not finite at epoch" in text
    assert [line.split()[-1] for line in page.texts["code"]] == [str(run), "--html"]


def test_rows_that_no_model_has_not_seen_are_said(tmp_path):
    header, X, y = problem(60)
    with create(tmp_path / "d.h5", header, rows={"train": 60, "test": 0}) as writer:
        writer.write("train", 0, X, y)
    run = tmp_path / "run"
    more = {"picture": True, "workers": 1}
    train(options(tmp_path / "d.h5", run, **more), comm=mpi.comm_self())
    assert json.loads((run / "evaluation.json").read_text()) == {}
    page = Page(run / "report.html")
    assert "Training R²" in page.headings
    assert "The data has no test rows" in " ".join(page.texts["p"])


@pytest.mark.parametrize("wide", [False, True])
def test_names_of_columns_are_shown_as_they_are(tmp_path, wide):
    names = ["größe 名前", "<script>alert(1)</script>", 'a & "b"']
    if wide:  # names that do not fit into an attribute of HDF5
        names += [f"a long name of a column, number {k}" for k in range(9997)]
    header, X, y = problem(30, features=len(names))
    header = replace(header, feature_names=tuple(names))
    y = X[:, :3] @ [3.0, 2.0, 1.0]
    with create(tmp_path / "d.h5", header, rows={"train": 20, "test": 10}) as writer:
        writer.write("train", 0, X[:20], y[:20])
        writer.write("test", 0, X[20:], y[20:])
    run = tmp_path / "run"
    more = {"picture": True, "workers": 1, "optimizer": "lbfgs", "epochs": 2}
    train(options(tmp_path / "d.h5", run, **more), comm=mpi.comm_self())
    page = Page(run / "report.html")
    features = [text for text in page.texts["td"] if text in names]
    assert features[:1] == names[:1] or wide
    assert len(features) == min(len(names), run_page.LARGEST)
    assert not any("alert" in text for text in page.texts["script"])


def test_a_page_needs_no_matplotlib(digits, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run_page.write_run_page(digits).exists()


def test_an_unfinished_run_has_a_page(tmp_path):
    run = tmp_path / "run"
    train(options("diabetes", run, workers=1, epochs=2), comm=mpi.comm_self())
    for name in ("summary.json", "model.h5", "env.json"):
        (run / name).unlink()
    run_page.write_run_page(run)
    assert "It has not ended" in " ".join(Page(run / "report.html").texts["p"])


def test_several_runs_are_on_one_page(tmp_path, digits):
    other = tmp_path / "other"
    train(options("digits", other, workers=1), comm=mpi.comm_self())
    path = tmp_path / "both.html"
    lines = report.report([digits, other], path, html=True)
    assert lines[-1] == f"look at {path}"
    page = Page(path)
    assert "Test accuracy by epochs" in page.headings
    assert {"digits", "other"} <= set(page.texts["td"]) & set(page.texts["text"])


@pytest.mark.parametrize("name", ["config.toml", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", ["", "[]", "\x00 no text", '{"event": "epoch"}\n'])
def test_a_folder_that_is_not_complete_is_refused(digits, tmp_path, name, text):
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    (run / name).write_text(text)
    with pytest.raises(UsageError, match=r"run folder|evaluated|not TOML"):
        run_page.write_run_page(run)


def test_many_ranks_and_outputs_fit_on_paper(digits, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    summary = json.loads((run / "summary.json").read_text())
    summary["times"] = [
        {"compute": 1.0 + rank, "exchange": 0.5, "read": 0.0} for rank in range(200)
    ]
    (run / "summary.json").write_text(json.dumps(summary))
    with h5py.File(run / "model.h5", "a") as file:
        del file["weights/coef"]
        coef = np.zeros((64, 30))
        coef[5, 7] = -3.0
        file["weights/coef"] = coef
    run_page.write_run_page(run)
    page = Page(run / "report.html")
    bars = [text for text in page.texts["text"] if text.startswith("rank ")]
    assert bars == [f"rank {k}" for k in range(152, 200)]
    first = page.texts["td"].index("pixel_0_5")
    assert page.texts["td"][first : first + 3] == ["pixel_0_5", "output 7", "-3.000"]


@pytest.mark.mpi
def test_rank_zero_writes_the_page(shared_tmp, agree):
    world, run = mpi.world(), shared_tmp / "run"
    train_once = partial(train, options("wine", run, picture=True), comm=world)
    train_once()
    mpi.wait_asleep(world.Ibarrier())
    text = (run / "report.html").read_text()
    agree(text.count("<svg") == 4 and f"rank {world.size - 1}" in text)
