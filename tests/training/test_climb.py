"""A run that ends above its start says so; the loss of the first weights is logged."""

import json
import shlex

import pytest

from mpipgd.training import checkpoint

COMMON = ("--workers", "3", "--quiet")
CLIMB = {
    "sync": ["--lr", "1.5"],
    "average": ["--strategy", "average", "--n-sync", "4", "--lr", "1.5"],
    "elastic": ["--strategy", "elastic", "--lr", "1.5"],
    "hogwild": ["--strategy", "hogwild", "--lr", "1.5"],
    "async": ["--strategy", "async", "--lr", "1.5"],
    "sweep": ["--many", "lr=1.5,1.2"],
}


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("name", CLIMB)
def test_a_climbing_run_is_exit_4(tmp_path, mpipgd, name):
    run = tmp_path / "run"
    words = ["diabetes", *COMMON, *CLIMB[name], "--epochs", "2", "--run", run]
    code, _, err = mpipgd(*words)
    assert code == 4
    assert err.startswith("mpipgd: diverged") and err.count("\n") == 1
    assert "rose from" in err and "--lr" in err and "--allow-climb" in err
    assert not (run / "model.h5").exists()
    assert summary(run)["exit"] == 4 and summary(run)["state"] == "diverged"
    assert checkpoint.saved(run)


def test_allowed_it_leaves_a_model_also_when_resumed(tmp_path, mpipgd):
    run, allowed = tmp_path / "run", tmp_path / "allowed"
    words = ["diabetes", *COMMON, *CLIMB["sync"], "--epochs", "2", "--run"]
    assert mpipgd(*words, run)[0] == 4
    assert mpipgd(*words, allowed, "--allow-climb")[0] == 0
    assert mpipgd("--resume", run, "--allow-climb", "--quiet")[0] == 0
    found, expected = summary(run), summary(allowed)
    for key in ("weights_sha256", "loss", "start_loss", "climbed"):
        assert found[key] == expected[key]
    assert expected["climbed"] and expected["loss"] > expected["start_loss"]
    assert (run / "model.h5").exists()


def test_the_first_weights_are_evaluated_outside_the_clock(tmp_path, mpipgd):
    run = tmp_path / "run"
    assert mpipgd("diabetes", *COMMON, "--epochs", "2", "--run", run)[0] == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    epochs = [record for record in records if record["event"] == "epoch"]
    assert [record["epoch"] for record in epochs] == [0, 1, 2]
    assert epochs[0]["step"] == epochs[0]["samples"] == 0
    assert summary(run)["start_loss"] == epochs[0]["loss"] > epochs[-1]["loss"]


def test_a_checkpoint_without_a_start_resumes(tmp_path, mpipgd):
    run = tmp_path / "run"
    assert mpipgd("diabetes", *COMMON, "--epochs", "2", "--run", run)[0] == 0
    as_of_an_older_version(run)
    code, _, err = mpipgd("--resume", run, "--epochs", "3", "--quiet")
    assert code == 0, err
    assert summary(run)["start_loss"] is None


def as_of_an_older_version(run):
    """Remove from the checkpoints what older versions did not store."""
    for path in checkpoint.saved(run):
        content = checkpoint._read(path)
        new = ("best_start", "data_signature", "target_deviation")
        attributes = {k: v for k, v in content.attributes.items() if k not in new}
        path.unlink()
        checkpoint.write(path, content.arrays, attributes)


def test_a_finished_run_has_nothing_left_to_do(tmp_path, mpipgd):
    run = tmp_path / "run"
    assert mpipgd("diabetes", *COMMON, "--epochs", "2", "--run", run)[0] == 0
    before = (run / "metrics.jsonl").read_bytes(), (run / "model.h5").stat()
    code, out, _ = mpipgd("--resume", run)
    assert code == 0 and out.count("\n") == 1
    assert "nothing left to do" in out and "--epochs" in out
    assert before == ((run / "metrics.jsonl").read_bytes(), (run / "model.h5").stat())


EARLY = {  # reason -> flags that end a run early, and such as do not let it go on
    "target": ("--target 0.3", "--target 0.31"),
    "plateau": ("--tol 1e4 --patience 2", "--tol 2e4"),
    "time limit": ("--time-limit 1e-9", "--time-limit 1e-8"),
}


@pytest.mark.parametrize("reason", EARLY)
def test_a_run_that_ended_early_says_so_until_the_options_let_it_go_on(
    tmp_path, mpipgd, reason
):
    run, (flags, no_change) = tmp_path / "run", EARLY[reason]
    words = ["diabetes", *COMMON, *flags.split(), "--epochs", "40", "--run", run]
    assert mpipgd(*words)[0] == 0
    assert summary(run)["reason"] == reason
    before = (run / "metrics.jsonl").read_bytes(), (run / "model.h5").stat()
    for more in ("", no_change, "--epochs 50"):
        code, out, _ = mpipgd("--resume", run, *more.split())
        assert code == 0 and out.count("\n") == 1
        assert "nothing left to do" in out and "ended early" in out
    assert before == ((run / "metrics.jsonl").read_bytes(), (run / "model.h5").stat())
    steps = summary(run)["steps"]
    hint = shlex.split(out.partition("for more: ")[2])
    code, out, err = mpipgd(*hint[hint.index("train") :])
    assert code == 0 and summary(run)["steps"] > steps, out + err


def test_a_run_that_converged_has_nothing_left_to_do(tmp_path, mpipgd):
    run = tmp_path / "run"
    words = ["diabetes", *COMMON, "--optimizer", "lbfgs", "--epochs", "500"]
    assert mpipgd(*words, "--run", run)[0] == 0
    assert summary(run)["reason"] == "converged"
    code, out, _ = mpipgd("--resume", run)
    assert code == 0 and out.endswith("L-BFGS has converged\n")


def test_an_iteration_of_lbfgs_is_a_step(tmp_path, mpipgd):
    run = tmp_path / "run"
    words = ["diabetes", "--workers", "3", "--optimizer", "lbfgs", "--epochs", "9"]
    code, out, _ = mpipgd(*words, "--run", run)
    assert code == 0 and "9 epochs, 9 iterations of L-BFGS" in out
    for key in ("steps", "epochs", "iterations"):
        assert summary(run)[key] == 9


def test_iterations_after_sgd_are_told_from_its_steps(tmp_path, mpipgd):
    run, cut = tmp_path / "run", tmp_path / "cut"
    words = ["diabetes", "--workers", "3", "--then", "lbfgs", "--lr", "0.02"]
    code, out, _ = mpipgd(*words, "--epochs", "20", "--run", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    switch = next(line for line in lines if line["event"] == "switch")
    iterations = summary(run)["epochs"] - switch["epoch"]
    assert code == 0 and summary(run)["iterations"] == iterations > 0
    assert f"{switch['step']} steps, {iterations} iterations of L-BFGS" in out
    assert mpipgd(*words, "--epochs", "15", "--quiet", "--run", cut)[0] == 0
    assert mpipgd("--resume", cut, "--epochs", "20", "--quiet")[0] == 0
    assert summary(cut)["iterations"] == iterations


def test_the_penalty_is_told_from_the_loss(tmp_path, mpipgd):
    run = tmp_path / "run"
    words = ["diabetes", "--workers", "2", "--alpha", "0.5", "--run", run]
    code, out, _ = mpipgd(*words)
    assert code == 0 and "training objective (loss + penalty)" in out
    assert summary(run)["data_loss"] < summary(run)["loss"]
    code, out, _ = mpipgd("evaluate", run, run / "data.h5")
    assert code == 0 and "loss (without penalty)" in out
    loss = next(line for line in out.splitlines() if line.startswith("train"))
    assert float(loss.split()[2]) == pytest.approx(summary(run)["data_loss"], rel=1e-5)
