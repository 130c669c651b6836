"""Jobs of a real SLURM: they end well, go on after a stop, and give up in the end."""

import json
import random
import re
import sys
import time

import pytest

from .slurm_cluster import (
    ROOT,
    call,
    ended,
    last_step,
    sbatch,
    site,
    slurm,
    state,
    stop,
    summary,
    until,
    wanted,  # fmt: skip
)

pytestmark = [*wanted, pytest.mark.usefixtures("slurm"), pytest.mark.timeout(240)]
SCRIPTS = ROOT / "slurm"
STOPPED = r"stopped on request after step ([0-9,]+);"
FLAGS = ("--workers", 2, "--batch-size", 8, "--eval-every", 10, "--lr", 0.01)
assert slurm and site  # fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "made.h5"
    size = "--rows", 16_000, "--features", 20
    call(sys.executable, "-m", "mpipgd", "data", "make", "regression", path, *size)
    return path


@pytest.mark.parametrize("name, options", [
    ("train", ["--ntasks-per-node=3"]),
    ("multinode-hybrid", ["--nodes=2", "--ntasks-per-node=2"]),
])  # fmt: skip
def test_a_script_trains_to_its_end(site, data, name, options):
    words = [SCRIPTS / f"{name}.sbatch", data, "--epochs", 3]
    job = sbatch(site, *options, *words)
    assert ended(job) == ("COMPLETED", 0), log(site, job)
    found = summary(site / "runs" / job)
    assert found["exit"] == 0 and found["ranks"] == (3 if name == "train" else 4)
    if name != "train":
        env = json.loads((site / "runs" / job / "env.json").read_text())
        assert sum(env["hosts"].values()) == 4


def log(folder, job):
    return (folder / f"slurm-{job}.out").read_text()


def test_an_array_trains_with_each_line_of_a_file(site, data):
    (site / "sweep.txt").write_text("--lr 0.01\n--lr 0.002 --penalty none\n")
    words = [SCRIPTS / "array.sbatch", "sweep.txt", data, "--epochs", 2]
    job = sbatch(site, "--array=1-2", *words)
    runs = [site / "runs" / f"{job}-{k}" for k in (1, 2)]
    until(lambda: all((r / "summary.json").exists() for r in runs), 60, "ended")
    assert [summary(run)["lr"] for run in runs] == [0.01, 0.002]


def pages(folder, ranks):
    """Return whether a study's page and table have these numbers of ranks."""
    table = folder / "results.csv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return {line.split(",")[2] for line in lines} == set(ranks)


def test_a_study_is_one_job(site, data):
    words = [SCRIPTS / "scaling.sbatch", data, "--ranks", "1,2", "--repeat", 1]
    job = sbatch(site, "--ntasks=2", *words, "--epochs", 2)
    assert ended(job) == ("COMPLETED", 0), log(site, job)
    folder = site / "runs" / f"scale-{job}"
    assert pages(folder, "12") and (folder / "index.html").exists()


def test_a_study_is_a_job_for_each_number_of_ranks(site, data):
    words = "--ranks", "1,4", "--repeat", 2, "--epochs", 2, "--out", "study"
    options = "--slurm", "--sbatch", "--time=10:00 --nodes=1"
    text = mpipgd(site, "scale", data, *words, *options)
    jobs = [each.split()[1].rstrip(":") for each in text.splitlines()[:2]]
    assert [ended(job) for job in jobs] == [("COMPLETED", 0)] * 2
    assert pages(site / "study", "14")
    assert "of 4 runs" not in (site / "study" / "index.html").read_text()


def submitted(site, data, name, *flags):
    """Submit a training by `mpipgd submit`; return its job and its run folder."""
    text = mpipgd(
        site, "submit", "--ntasks=2", "--", data, *FLAGS, *flags, "--run", name
    )
    return text.split()[1].rstrip(":"), site / name


def mpipgd(site, *words, **more):
    return call(sys.executable, "-m", "mpipgd", *words, folder=site, **more)


def straight(site, data, epochs):
    """Return the hash of the same training, alone and undisturbed."""
    words = data, *FLAGS, "--epochs", epochs, "--run", "straight"
    mpipgd(site, "launch", "-n", 1, "--", *words)
    return summary(site / "straight")["weights_sha256"]


def test_stopped_jobs_go_on_to_the_same_weights(site, data):
    epochs, stops = 150, random.Random(time.time_ns()).sample(range(1, 3000), 2)
    job, run = submitted(site, data, "run", "--epochs", epochs)
    for count, steps in enumerate(stops, 1):
        stop(job, run, steps)
        until(lambda: state(job)[1] == count, 60, f"restarted {count} times")
    status = mpipgd(site, "status", run)
    assert ended(job) == ("COMPLETED", len(stops)), log(run, job)
    assert "running" in status or "queued" in status or "stopped" in status
    assert "done" in mpipgd(site, "status", run)
    assert summary(run)["weights_sha256"] == straight(site, data, epochs)
    text = (run / f"slurm-{job}.out").read_text()
    stopped = [int(each.replace(",", "")) for each in re.findall(STOPPED, text)]
    starts = (run / "starts.jsonl").read_text().splitlines()
    began = [json.loads(each)["step"] for each in starts]
    assert began == [0, *stopped] == sorted(set(began))  # after the last step made


def test_a_cancelled_job_leaves_a_run_that_goes_on(site, data):
    job, run = submitted(site, data, "run", "--epochs", 100)
    until(lambda: last_step(run) > 5000, 60, "at work")
    call("scancel", job)
    assert ended(job)[0] == "CANCELLED"
    mpipgd(site, "launch", "-n", 2, "--", "--resume", run)
    assert summary(run)["weights_sha256"] == straight(site, data, 100)


def test_a_job_that_gets_nowhere_is_given_up(site, data):
    job, run = submitted(site, data, "run", "--epochs", 2, "--loss", "log")
    assert ended(job) == ("FAILED", 0)
    for count in (1, 2, 3):
        call("scontrol", "requeue", job)
        until(lambda: state(job)[1] == count, 60, f"restarted {count} times")
        assert ended(job) == ("FAILED", count)
    text = log(run, job)
    assert "given up" in text and text.count("mpipgd: ") == 4


def test_a_job_that_stops_before_its_first_step_is_not_requeued(site, data):
    flags = "--epochs", 2, "--model", "mlp", "--hidden", "3000,3000"
    job, run = submitted(site, data, "run", *flags, "--batch-size", 16_000)
    until((run / "starts.jsonl").exists, 60, "running")
    call("scancel", "--batch", "--signal=USR1", job)
    found = ended(job)
    assert found[1] <= 1  # at most once, if a step was made by then
    assert found[0] == "COMPLETED" or "not requeued" in log(run, job)


def test_the_doctor_finds_an_srun_without_pmi(site):
    doctor = sys.executable, "-m", "mpipgd", "doctor", "--folder", site
    text = call("srun", "--mpi=none", "-n", 2, *doctor, check=False, folder=site)
    assert "FAULT" in text and "srun started 2 programs" in text, text
    assert text.count("launch with") == 1
    text = mpipgd(site, "launch", "-n", 2, "--", "doctor", "--folder", site)
    assert "FAULT" not in text and "2 ranks" in text


def test_submit_refuses_at_once_what_could_not_run(site, data):
    words = "submit", "--ntasks=2", "--", data, "--epochz", 3
    text = mpipgd(site, *words, check=False)
    assert "unknown flag --epochz" in text and not (site / "runs").exists()
    words = "submit", "--partition=none", "--", data
    text = mpipgd(site, *words, check=False)
    assert "sbatch" in text and "invalid partition" in text
