"""A scaling study: its tables and page, resuming it, and the predictions."""

import csv
import json
import re
import signal
import statistics
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from mpipgd.config.options import TrainConfig
from mpipgd.errors import UsageError
from mpipgd.reporting.html import table as table_of
from mpipgd.studies.scaling import calibrate, cost_model, export, forecast, network
from mpipgd.studies.scaling import statistics as results
from mpipgd.studies.scaling.microbench import _slowest
from mpipgd.studies.scaling.study import Point, Study, read

from ..support import finish, start


def scale(*words):
    """Run a study to its end; return code and output."""
    code, out, err = finish(start(None, "scale", *words), timeout=110)
    return code, out + err


def table(folder):
    """Return results.csv as dicts by mode and ranks."""
    with open(folder / "results.csv") as file:
        return {(r["mode"], int(r["ranks"])): r for r in csv.DictReader(file)}


class Page(HTMLParser):
    """Collects what a page would load, and the tags that are still open."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [
            v for k, v in attributes if k in ("src", "href") and v[:1] != "#"
        ]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A small study of both modes, with a fixed number of workers in neither."""
    folder = tmp_path_factory.mktemp("study") / "out"
    words = "wine", "--ranks", "1,2", "--repeat", 2, "--mode", "both", "--epochs", 4
    code, text = scale(*words, "--batch-size", 8, "--out", folder)
    assert code == 0, text
    return folder, text


@pytest.mark.programs
def test_a_study_leaves_tables_and_a_page(studied):
    folder, text = studied
    found = table(folder)
    assert set(found) == {(m, p) for m in ("strong", "weak") for p in (1, 2)}
    assert "8/8" in text and f"{folder}/index.html" in text
    for (mode, ranks), row in found.items():
        names = [f"{mode}-sync-{ranks:04d}-{k}" for k in (0, 1)]
        times = [epoch_seconds(folder / "runs" / each) for each in names]
        assert float(row["epoch_seconds"]) == pytest.approx(statistics.median(times))
        parts = [float(row[k]) for k in ("compute", "exchange", "wait", "read")]
        assert sum(parts) == pytest.approx(1.0)
    assert len((folder / "runs.jsonl").read_text().splitlines()) == 8
    page = (folder / "index.html").read_text()
    assert Page(page).loads == [] and Page(page).open == []
    assert (
        page.count("<svg") == 9 == page.count('role="img"')
        and "Scaling on wine" in page
    )


def epoch_seconds(run):
    """Return the seconds of an epoch after the first from a run's metrics."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    each = {r["epoch"]: r["seconds"] for r in lines if r["event"] == "epoch"}
    return (each[4] - each[1]) / 3


@pytest.mark.programs
def test_strong_shares_the_batch_and_weak_the_rows(studied):
    folder, _ = studied
    steps = {}
    for each in (folder / "runs").iterdir():
        summary = json.loads((each / "summary.json").read_text())
        steps[each.name[:-2]] = summary["steps"], summary["samples"]
    # 142 rows: 9 steps of 16 in strong mode; in weak mode 71 rows on one of two ranks
    assert steps["strong-sync-0001"] == steps["strong-sync-0002"] == (36, 568)
    assert steps["weak-sync-0001"] == (36, 284)
    assert steps["weak-sync-0002"] == (36, 568)


@pytest.mark.programs
def test_a_study_that_was_interrupted_goes_on(tmp_path):
    out = tmp_path / "out"
    words = "wine", "--ranks", "1,2", "--repeat", 2, "--epochs", 3, "--out", out
    process = start(None, "scale", *words)
    first = out / "runs" / "strong-sync-0001-0" / "exit.json"
    ends = time.monotonic() + 60
    while not first.exists():
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    text = "".join(process.communicate(timeout=60))
    assert process.returncode != 0
    before = first.stat().st_mtime_ns
    assert scale("--out", out, "--collect")[0] == 0
    page = (out / "index.html").read_text()
    assert "of 4 runs have ended so far" in page, text
    code, text = scale("--out", out)
    assert code == 0 and "4/4" in text
    assert first.stat().st_mtime_ns == before
    assert "so far" not in (out / "index.html").read_text()
    code, text = scale("wine", "--ranks", "1", "--out", out)
    assert code == 2 and "holds another study" in text


@pytest.mark.programs
def test_the_same_workers_have_the_same_weights_and_a_failure_is_told(tmp_path):
    words = "wine", "--ranks", "1,2", "--repeat", 1, "--epochs", 2, "--workers", 2
    code, text = scale(*words, "--lr", "1e300", "--out", tmp_path / "failed")
    assert code == 1 and "all 2 runs failed; the first: exit 4: diverged" in text
    two = "--strategies", "sync,sync:lr=1e300"
    code, text = scale(*words, *two, "--out", tmp_path / "out")
    assert code == 0 and "exit 4: diverged" in text
    page = (tmp_path / "out" / "index.html").read_text()
    assert "sync: weights are bit-identical on all numbers of ranks" in page
    assert "exit 4: diverged" in page and len(table(tmp_path / "out")) == 2


@pytest.mark.parametrize("words, message", [
    (["--ranks", "1,two"], "--ranks two"),
    (["--ranks", "2,3", "--global-batch", "64"], "3 ranks cannot share"),
    (["--mode", "weak", "--workers", "4"], "--workers 4"),
    (["--collect"], "--out DIR of a study"),
    (["--slurm", "--calibrate"], "slurm/scaling.sbatch"),
    (["--network", "fast"], "latency=SECONDS"),
    (["--strategies", "sink"], "sync"),
])  # fmt: skip
def test_a_study_that_cannot_be_is_refused(tmp_path, mpipgd, words, message):
    code, out, err = mpipgd("scale", "wine", *words, "--out", tmp_path / "out")
    assert code == 2 and message in err and not (tmp_path / "out").exists()


def record(mode, ranks, seconds, loss=(1.0, 0.5), **more):
    """Return the record of a run that took so long."""
    curve = [(k + 1, 0.0, each) for k, each in enumerate(loss)]
    found = {"mode": mode, "label": "sync", "ranks": ranks, "repeat": 0, "status": "ok"}
    found |= {"epoch_seconds": seconds, "loss": loss[-1], "curve": curve}
    found |= {"compute": 3.0, "exchange": 1.0, "wait": 0.0, "read": 0.0}
    return found | {"crowded": False, "workers": ranks} | more


def test_speedup_and_efficiency_are_of_medians():
    times = {1: (8, 9, 30), 2: (5, 4.5, 4), 4: (2.5, 2, 3), 8: (2.5, 2.5, 2.5)}
    records = [
        record(mode, p, t, crowded=p == 8)
        for mode in ("strong", "weak") for p, each in times.items() for t in each
    ]  # fmt: skip
    found = {(row.mode, row.ranks): row for row in results.summarize(records)}
    assert found["strong", 2].speedup == 2.0 and found["strong", 2].efficiency == 1.0
    assert found["strong", 4].speedup == pytest.approx(3.6)
    assert found["strong", 4].efficiency == pytest.approx(0.9)
    assert found["weak", 4].efficiency == pytest.approx(3.6)
    assert found["strong", 8].speedup is None is found["weak", 8].efficiency
    low, high = found["strong", 2].speedup_interval
    assert low == pytest.approx(8 / 5) and high == pytest.approx(30 / 4)
    assert found["strong", 1].interval == (8, 30)
    assert found["strong", 1].shares["compute"] == 0.75


def test_efficiency_is_against_the_fewest_ranks():
    rows = results.summarize([record("strong", 2, 6.0), record("strong", 8, 2.0)])
    assert rows[1].speedup == 3.0 and rows[1].efficiency == 0.75


def test_the_target_is_what_all_reach():
    fast, slow = (4.0, 2.0, 1.0, 0.5), (4.0, 3.0, 2.5, 2.0)
    rows = results.summarize(
        [record("strong", 1, 1.0, fast), record("strong", 2, 1.0, slow)]
    )
    assert [row.epochs for row in rows] == [2, 4]
    between = results.epoch_reached([(1, 0, 4.0), (3, 0, 2.0)], 3.0)
    assert between == 2.0


def test_extrap_gets_all_repeats_of_ranks_with_a_core():
    records = [record("strong", p, p + k / 4) for p in (1, 2) for k in (0, 1)]
    text = export.extrap(
        results.summarize([*records, record("strong", 4, 1, crowded=True)])
    )
    assert text.splitlines() == [
        "PARAMETER p", "POINTS (1) (2)", "", "REGION strong_sync", "METRIC time",
        "DATA 1 1.25".replace("1 ", "1.0 "), "DATA 2.0 2.25",
    ]  # fmt: skip


def test_a_study_is_read_as_it_was_written(tmp_path):
    settings = {
        "a": TrainConfig(data="x.h5", lr=0.5),
        "b": TrainConfig(strategy="average"),
    }
    made = Study("x", settings, (1, 2), ("strong", "weak"), 3, 64)
    made.write(tmp_path)
    assert read(tmp_path) == made
    options = made.options(Point("strong", "a", 2, 1), tmp_path)
    assert (options.batch_size, options.workers, options.seed) == (32, 2, 1)
    options = made.options(Point("weak", "b", 1, 0), tmp_path)
    assert (options.batch_size, options.rows_share) == (32, 0.5)


def made_up(alpha=4e-6, beta=1e-9, fixed=20e-6, row=1e-7, nodes=1):
    """Return measurements of a machine that is exactly as the model has it."""
    steps = [
        {"label": "a", "share": s, "how": "one by one", "batch": b, "waits": {},
         "ranks": 1, "seconds": fixed + row * b, "rows": 64_000 * s, "size": 1000,
         "dtype": "float64"}
        for s in (1, 1 / 64) for b in (1, 64, 512)
    ]  # fmt: skip
    exchanges = [
        {"ranks": 2, "nodes": nodes, "apart": apart, "bytes": n,
         "seconds": alpha + beta * n}
        for n in (8, 8000, 80_000) for apart in (True, False)
    ]  # fmt: skip
    return {"steps": steps, "exchanges": exchanges}


def test_the_model_finds_what_it_was_made_of():
    model = cost_model.CostModel(made_up(), per_node=2)
    options = TrainConfig(workers=2, batch_size=100)
    step, sent = 20e-6 + 1e-7 * 100, 4e-6 + 1e-9 * 8000
    seconds, exchanged = model.epoch("a", options, 2)
    assert seconds == pytest.approx(320 * (step + sent))
    assert exchanged == pytest.approx(320 * sent)
    rare = TrainConfig(
        workers=2, batch_size=100, strategy="average", n_sync=10, epochs=5
    )
    assert model.epoch("a", rare, 2)[0] == pytest.approx(320 * step + 2 * sent)
    assert model.epoch("a", TrainConfig(workers=2, strategy="gossip"), 2) is None


def test_steps_side_by_side_take_longer():
    found = made_up()
    beside = [each | {"seconds": 1.25 * each["seconds"], "ranks": 2}
              for each in found["steps"]]  # fmt: skip
    both = cost_model.CostModel(found | {"steps": found["steps"] + beside}, per_node=2)
    one = cost_model.CostModel(found, per_node=2)
    for ranks, more in ((1, 1.0), (2, 1.25), (64, 1.25)):
        assert both.step("a", 0.5, 100, ranks) == pytest.approx(
            more * one.step("a", 0.5, 100, ranks)
        )


def test_other_networks_are_unknown_until_stated():
    options = TrainConfig(workers=8, batch_size=100)
    assert cost_model.CostModel(made_up(), per_node=2).epoch("a", options, 8) is None
    stated = cost_model.CostModel(
        made_up(), per_node=2, network=network.Network(5e-6, 1e9)
    )
    near, far = 4e-6 + 8e-6, 2 * 5e-6 + 3 * 8000 / 1e9
    assert stated.exchange(8, 8000, apart=True) == pytest.approx(near + far)
    measured = cost_model.CostModel(made_up(nodes=2), per_node=1)
    assert measured.exchange(2, 8000, apart=True) == pytest.approx(12e-6)
    expected = 3 * 4e-6 + 7 * 8000 * 1e-9
    assert measured.exchange(8, 8000, apart=True) == pytest.approx(expected)


def test_advice_keeps_exchanges_at_a_tenth():
    model = cost_model.CostModel(made_up(alpha=100e-6), per_node=2)
    batch, period = model.advice("a", TrainConfig(batch_size=100), 2)
    x, step = 108e-6, 30e-6
    assert x / (x + 20e-6 + 1e-7 * batch / 2) <= 0.1
    assert x / (x + 20e-6 + 1e-7 * batch / 4) > 0.1
    assert x / (x + step * period) <= 0.1 < x / (x + step * (period - 1))


def test_a_network_is_read_with_its_units():
    assert network.parse_network("latency=2us,bandwidth=12GB/s") == (2e-6, 12e9)
    found = network.parse_network("latency=0.1ms,bandwidth=100Mbit/s")
    assert found == pytest.approx((1e-4, 1.25e7))
    for text in ("latency=2us", "latency=2,bandwidth=3", "latency=0s,bandwidth=1GB/s"):
        with pytest.raises(UsageError):
            network.parse_network(text)


def test_the_slowest_of_several_draws(rng):
    steps = np.sort(rng.exponential(size=2000))
    drawn = rng.choice(steps, (20_000, 4)).max(axis=1).mean()
    assert _slowest(steps, 1) == pytest.approx(steps.mean())
    assert _slowest(steps, 4) == pytest.approx(drawn, rel=0.03)


def study_of(seconds, labels=("a",)):
    """Return a study, and its results with so many seconds an epoch on two ranks."""
    settings = {label: TrainConfig(batch_size=50, epochs=5) for label in labels}
    study = Study("x", settings, (2,), global_batch=100)
    runs = [record("strong", 2, seconds) | {"label": label} for label in labels]
    return study, results.summarize(runs)


def test_the_page_has_what_is_predicted():
    model = cost_model.CostModel(made_up(row=1e-6), per_node=64)
    study, rows = study_of(0.2)
    found = forecast.with_predictions(study, model, rows)
    step, exchange = 20e-6 + 50 * 1e-6, 4e-6 + 8000 * 1e-9
    assert found[0].predicted == pytest.approx(640 * (step + exchange))
    html = "".join(forecast.html_section(study, model, found, [4, 8]))
    page = Page(html)
    cells = re.findall(r"<td.*?>(.*?)</td>", html)
    assert page.open == [] and "<h2>Predicted</h2>" in html
    assert cells == [cell for row in forecast.forecast(study, model, [4, 8])
                     for cell in row]  # fmt: skip
    assert [cells[0], cells[1]] == ["a", "4"] and float(cells[2]) > 0
    assert not results.too_small_lines(rows)


def test_too_little_work_is_not_predicted():
    model = cost_model.CostModel(made_up(fixed=1e-6, row=1e-9), per_node=64)
    study, rows = study_of(0.002)
    found = forecast.with_predictions(study, model, rows)
    assert [row.predicted for row in found] == [None]
    assert [row[2] for row in forecast.forecast(study, model, [4])] == ["too small"]
    (line,) = results.too_small_lines(found)
    assert "an epoch takes 2 ms, too little work" in line
    remarks = list(forecast.remarks(study, model, found))
    assert any("Nothing is predicted" in text for text in remarks)


def test_cells_and_marks_of_a_table_belong_to_its_rows():
    with pytest.raises(ValueError):
        table_of(["a"], [["1"], ["2"]], [])
    assert "<td>2</td>" in table_of(["a"], [["1"], ["2"]])


@pytest.mark.launcher
def test_a_study_is_calibrated_and_predicted(tmp_path, monkeypatch, mpipgd):
    out = tmp_path / "out"
    words = "digits", "--ranks", "1,2", "--repeat", 1, "--epochs", 5, "--out", out
    more = "--calibrate", "--predict", "64,128", "--per-node", 2
    code, text = scale(*words, *more, "--strategies", "sync,average")
    assert code == 0, text
    assert text.count("  unknown") == 4 and "State one with --network" in text
    found = calibrate.read(out)
    assert {e["ranks"] for e in found["exchanges"]} == {2}
    assert all(each["seconds"] > 0 for each in found["steps"])
    for module in (results, forecast):  # as if no work were too small
        monkeypatch.setattr(module, "LEAST_EPOCH_SECONDS", 0.0)
    stated = "--predict", "64,128", "--network", "latency=2us,bandwidth=12GB/s"
    code, text, err = mpipgd("scale", "--out", out, "--collect", *stated)
    assert code == 0 and "taken as stated: 2 µs, 12 GB/s" in text, text + err
    rows = table(out).values()
    assert all(0.02 < float(row["predicted"]) / float(row["epoch_seconds"]) < 50
               for row in rows)  # fmt: skip
    rows = re.findall(r"^(?:sync|average) +(?:64|128) +[0-9.e-]+ ", text, re.M)
    page = (out / "index.html").read_text()
    assert len(rows) == 4 and "<h2>Predicted</h2>" in page
    assert page.count("<td>64</td>") == 2


@pytest.mark.programs
def test_a_small_study_says_that_it_is_too_small(tmp_path):
    out = tmp_path / "out"
    words = "wine", "--ranks", "1,2", "--repeat", 1, "--epochs", 3, "--out", out
    code, text = scale(*words, "--calibrate", "--predict", "64", "--per-node", 64)
    assert code == 0 and "too little work" in text and "too small" in text, text
    page = (out / "index.html").read_text()
    assert "too little work" in page and ">too small</td>" in page
    assert not any(row["predicted"] for row in table(out).values())
