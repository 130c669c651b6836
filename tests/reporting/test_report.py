"""Reports: scores of single workers, and pictures of finished and unfinished runs."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

from mpipgd import cli, train
from mpipgd.comm import mpi
from mpipgd.data.create.make import make_bundled
from mpipgd.errors import UsageError
from mpipgd.reporting import plots, report, run_page
from mpipgd.reporting.run_folder import read_epochs

from ..support import options

STRATEGIES = ("average", "oneshot", "elastic", "gossip")


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """A data file, made by rank 0; its path on all ranks."""
    path = str(tmp_path_factory.mktemp("data") / "wine.h5")
    return mpi.on_root(mpi.world(), lambda: make_bundled("wine", path) or path)


def scored(data, folder, comm, **changes):
    """Train with workers' scores; return the records of the evaluations."""
    changes = {"worker_scores": True, "workers": 5, "batch_size": 8} | changes
    train(options(data, folder, **changes), comm=comm)
    mpi.wait_asleep(comm.Ibarrier())
    return read_epochs(folder)


def scores(records):
    """Return the scores of the workers at each evaluation."""
    return [record["worker_scores"] for record in records]


@pytest.mark.mpi
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scores_of_workers_are_the_same_on_all_ranks(wine, shared_tmp, agree, strategy):
    world = mpi.world()
    train_once = partial(scored, strategy=strategy)
    serial = mpi.on_root(
        world, train_once, wine, shared_tmp / "serial", mpi.comm_self()
    )
    parallel = scored(wine, shared_tmp / "world", world, strategy=strategy)
    agree(scores(parallel) == scores(serial))


def test_a_worker_scores_as_its_model_does_by_itself(tmp_path, wine):
    records = scored(wine, tmp_path / "a", mpi.comm_self(), strategy="oneshot")
    assert [len(of_workers) for of_workers in scores(records)] == [5] * 3
    last = records[-1]
    assert len(set(last["worker_scores"])) > 1  # before the averaging, not after
    single = scored(
        wine, tmp_path / "b", mpi.comm_self(), strategy="oneshot", workers=1
    )
    assert scores(single) == [[record["score"]] for record in single]


def test_workers_that_share_their_model_are_refused(tmp_path, wine):
    with pytest.raises(UsageError, match="--worker-scores: the workers of sync"):
        scored(wine, tmp_path / "run", mpi.comm_self(), strategy="sync")


def pixels(path):
    """Return a picture (height, width, 4)."""
    from matplotlib.image import imread

    return imread(path)


def test_a_report_draws_runs_on_one_axis(tmp_path, wine):
    for name in ("average", "gossip"):
        scored(wine, tmp_path / name, mpi.comm_self(), strategy=name)
    both = [str(tmp_path / "average"), str(tmp_path / "gossip")]
    first_lines = report.report(both[:1])
    assert first_lines[-1] == f"look at {both[0]}/report.png"
    lines = report.report(both, tmp_path / "both.png")
    assert [line.split()[:2] for line in lines[1:3]] == [
        ["average"] * 2,
        ["gossip"] * 2,
    ]
    first, second = pixels(f"{both[0]}/report.png"), pixels(tmp_path / "both.png")
    assert first.shape == second.shape and min(first.shape[:2]) > 400
    assert np.abs(first - second).max() > 0.5
    for against in ("seconds", "bytes", "samples"):
        plot_options = {"against": against, "show": "loss"}
        report.report(both, tmp_path / f"{against}.png", plot_options)
        assert np.ptp(pixels(tmp_path / f"{against}.png")) > 0.5


@pytest.mark.parametrize("validation", [None, 0.25])
def test_validation_rows_have_a_curve_where_there_are_any(tmp_path, wine, validation):
    records = scored(
        wine, tmp_path / "run", mpi.comm_self(), strategy="gossip",
        validation=validation,
    )  # fmt: skip
    held_out = {"validation"} if validation else set()
    figure = plots.plot_loss(records, tmp_path / "loss.png")
    left, right = (axes.get_legend_handles_labels()[1] for axes in figure.axes)
    parts = {"training", "test"} | held_out
    assert set(left) == {f"{part} objective" for part in parts}
    assert set(right) == {f"{part} score" for part in {"test"} | held_out}
    labels = plots.plot_runs({"a": records}).axes[0].get_legend_handles_labels()[1]
    assert ("a: validation" in labels) == bool(validation)
    chart = run_page.runs_chart({"a": records}, label="score")
    assert ("a, validation" in chart) == bool(validation)


def test_an_unfinished_run_is_drawn_as_far_as_it_is(tmp_path, wine):
    folder = tmp_path / "run"
    scored(wine, folder, mpi.comm_self(), strategy="average")
    (folder / "summary.json").unlink()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"event": "epoch", "epoch": 9})[:-4])
    lines = report.report([folder])
    assert lines[1].endswith("not yet") and (folder / "report.png").exists()


def test_what_is_no_run_is_refused(tmp_path, wine):
    with pytest.raises(UsageError, match="no run folder"):
        report.report([tmp_path])
    scored(wine, tmp_path / "run", mpi.comm_self(), strategy="average")
    shutil.copytree(tmp_path / "run", tmp_path / "early")
    (tmp_path / "early/metrics.jsonl").write_text('{"event": "start"}\n')
    with pytest.raises(UsageError, match="nothing was evaluated yet"):
        report.report([tmp_path / "run", tmp_path / "early"])


def test_without_matplotlib_there_is_a_table(tmp_path, wine, monkeypatch):
    scored(wine, tmp_path / "run", mpi.comm_self(), strategy="average")
    monkeypatch.setattr(report.plots, "has_matplotlib", lambda: False)
    assert report.report([tmp_path / "run"])[-1].startswith("no picture")


@pytest.mark.mpi
def test_the_command_says_once_where_the_picture_is(shared_tmp, wine, agree, mpipgd):
    first = mpi.world().rank == 0
    scored(wine, shared_tmp / "run", mpi.world(), strategy="average")
    picture = shared_tmp / "x.png"
    code, out, err = mpipgd("report", shared_tmp / "run", "-o", picture)
    agree(code == 0 and out.count(f"look at {picture}") == first)
    code, out, err = mpipgd("report", shared_tmp / "run", "-o", picture)
    agree(code == 2 and err.count("--overwrite") == first)
    words = "report", shared_tmp / "run", "-o", picture, "--overwrite"
    agree(mpipgd(*words)[0] == 0)
    code, out, err = mpipgd("report", shared_tmp / "nowhere")
    agree(code == 2 and err.count("no run folder") == first)


def test_a_report_against_nothing_known_is_refused():
    with pytest.raises(UsageError):
        cli.parse(["report", "run", "--against", "money"])


@pytest.mark.parametrize("name", ["config.toml", "summary.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00 no text"])
def test_a_folder_that_is_not_whole_is_told(tmp_path, name, text):
    run = tmp_path / "run"
    train(options("digits", run, epochs=1, workers=1), comm=mpi.comm_self())
    (run / name).write_text(text)
    with pytest.raises(UsageError, match="run"):
        report.report([str(run)])
