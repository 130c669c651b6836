"""report.html: from the files of a run folder alone, and true to them."""

import json
import re
import shlex
import shutil
import sys
from functools import partial
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

from mpipgd import train
from mpipgd.comm import mpi
from mpipgd.errors import UsageError
from mpipgd.reporting import report, run_page
from mpipgd.training import inference

from ..support import options


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
    assert "training objective (loss + penalty)" in page.texts["text"]
    charts = [json.loads(text) for text in page.texts["script"] if text[0] == "{"]
    names = [[series["name"] for series in chart["series"]] for chart in charts]
    assert names[1] == ["workers' own models"] * 2 + ["test accuracy"]
    assert "Confusion matrix (test)" not in page.headings


def test_coefficients_are_the_largest_of_the_model(digits):
    page = Page(digits / "report.html")
    model = inference.read(str(digits))
    coef = model.weights[: 64 * 10].reshape(64, 10)
    with h5py.File(digits / "model.h5") as file:
        np.testing.assert_array_equal(coef, file["weights/coef"][...])
    order = np.argsort(-abs(coef).max(axis=1), kind="stable")[: run_page.LARGEST]
    names = [name for name in page.texts["td"] if name.startswith("pixel")]
    assert names == [model.header.feature_names[k] for k in order]


def test_evaluations_are_shown_where_they_are(digits, tmp_path):
    written = {
        "test": {
            "confusion": [[5, 1], [2, 7]],
            "classes": ["no", "yes"],
            "roc": {"fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1], "auc": 0.7},
            "predicted_true": [[1.5, 1.0], [2.0, 2.5]],
        }
    }
    (digits / "evaluation.json").write_text(json.dumps(written))
    run_page.write_run_page(digits)
    page = Page(digits / "report.html")
    assert {
        "Confusion matrix (test)", "ROC curve (test)", "Predicted against true (test)",
    } <= set(page.headings)  # fmt: skip
    assert "Area under the curve: 0.7000." in page.texts["figcaption"]
    text = (digits / "report.html").read_text()
    assert re.search(r'<th scope="row">yes</th><td[^>]*>2</td><td[^>]*>7</td>', text)
    (digits / "evaluation.json").unlink()
    run_page.write_run_page(digits)


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
    assert "validation loss" in Page(digits / "report.html").texts["text"]
    path.write_text(before)
    run_page.write_run_page(digits)


def test_its_commands_work_as_printed(digits, tmp_path, monkeypatch, mpipgd):
    monkeypatch.chdir(tmp_path)
    (text,) = Page(digits / "report.html").texts["pre"]
    words = [shlex.split(line) for line in text.splitlines()]
    assert [w[w.index("mpipgd") + 1] for w in words] == [
        "train", "evaluate", "predict", "report",
    ]  # fmt: skip
    for command in words[1:]:
        code, _, err = mpipgd(*command[command.index("mpipgd") + 1 :])
        assert code == 0, err
    assert (tmp_path / "predictions.h5").exists()


def test_without_a_picture_there_is_no_page(tmp_path):
    train(options("wine", tmp_path / "run", workers=1), comm=mpi.comm_self())
    assert not (tmp_path / "run/report.html").exists()
    assert not (tmp_path / "run/loss.png").exists()


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
    assert page.texts["td"][:3] == ["pixel_0_5", "output 7", "-3"]


@pytest.mark.mpi
def test_rank_zero_writes_the_page(shared_tmp, agree):
    world, run = mpi.world(), shared_tmp / "run"
    train_once = partial(train, options("wine", run, picture=True), comm=world)
    train_once()
    mpi.wait_asleep(world.Ibarrier())
    text = (run / "report.html").read_text()
    agree(text.count("<svg") == 3 and f"rank {world.size - 1}" in text)
