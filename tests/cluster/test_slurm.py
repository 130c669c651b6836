"""Jobs of a real SLURM: they end well, resume after a stop, and are given up."""

import json
import random
import re
import sys
import time

import pytest

from .slurm_cluster import (
    ROOT,
    last_step,
    needs_slurm,
    read_summary,
    request_stop,
    run_command,
    sbatch,
    site,
    slurm,
    wait_for_end,
    wait_for_restart,
    wait_until,
)

pytestmark = [
    *needs_slurm,
    pytest.mark.usefixtures("slurm"),
    pytest.mark.timeout(240),
]
SCRIPTS = ROOT / "slurm"
STOP_MESSAGE = r"stopped on request after step ([0-9,]+);"
FLAGS = ("--workers", 2, "--batch-size", 8, "--eval-every", 10, "--lr", 0.001)
FLAGS += ("--optimizer", "momentum")  # tens of thousands of steps a second, no more
assert slurm and site  # fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "regression.h5"
    size = "--rows", 16_000, "--features", 20
    words = "data", "make", "regression", path, *size
    run_command(sys.executable, "-m", "mpipgd", *words)
    return path


def mpipgd(site, *words, check=True):
    """Run a command of mpipgd in a folder; return what it printed."""
    command = sys.executable, "-m", "mpipgd", *words
    return run_command(*command, folder=site, check=check)


def read_output(folder, job):
    """Return what a job has printed."""
    return (folder / f"slurm-{job}.out").read_text()


@pytest.mark.parametrize(
    "name, options",
    [
        ("train", ["--ntasks-per-node=3"]),
        ("multinode-hybrid", ["--nodes=2", "--ntasks-per-node=2"]),
    ],
)
def test_a_script_trains_to_its_end(site, data, name, options):
    words = [SCRIPTS / f"{name}.sbatch", data, "--epochs", 3]
    job = sbatch(site, *options, *words)
    assert wait_for_end(job) == ("COMPLETED", 0), read_output(site, job)
    summary = read_summary(site / "runs" / job)
    assert summary["exit"] == 0 and summary["ranks"] == (3 if name == "train" else 4)
    if name != "train":
        env = json.loads((site / "runs" / job / "env.json").read_text())
        assert sum(env["hosts"].values()) == 4


def test_an_array_trains_with_each_line_of_a_file(site, data):
    (site / "sweep.txt").write_text("--lr 0.01\n--lr 0.002 --penalty none\n")
    words = [SCRIPTS / "array.sbatch", "sweep.txt", data, "--epochs", 2]
    job = sbatch(site, "--array=1-2", *words)
    runs = [site / "runs" / f"{job}-{task}" for task in (1, 2)]
    wait_until(
        lambda: all((run / "summary.json").exists() for run in runs), 60, "ended"
    )
    assert [read_summary(run)["lr"] for run in runs] == [0.01, 0.002]


def table_has_ranks(folder, ranks):
    """Return whether a study's table has these numbers of ranks."""
    table = folder / "results.csv"
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return {line.split(",")[2] for line in lines} == set(ranks)


def test_a_study_is_one_job(site, data):
    words = [SCRIPTS / "scaling.sbatch", data, "--ranks", "1,2", "--repeat", 1]
    job = sbatch(site, "--ntasks=2", *words, "--epochs", 2)
    assert wait_for_end(job) == ("COMPLETED", 0), read_output(site, job)
    folder = site / "runs" / f"scale-{job}"
    assert table_has_ranks(folder, "12") and (folder / "index.html").exists()


def test_a_study_is_a_job_for_each_number_of_ranks(site, data):
    words = "--ranks", "1,4", "--repeat", 2, "--epochs", 2, "--out", "study"
    options = "--slurm", "--sbatch", "--time=10:00 --nodes=1"
    text = mpipgd(site, "scale", data, *words, *options)
    jobs = [line.split()[1].rstrip(":") for line in text.splitlines()[:2]]
    assert [wait_for_end(job) for job in jobs] == [("COMPLETED", 0)] * 2
    assert table_has_ranks(site / "study", "14")
    assert "of 4 runs" not in (site / "study" / "index.html").read_text()


def submit(site, data, name, *flags):
    """Submit a training by `mpipgd submit`; return its job and its run folder."""
    words = data, *FLAGS, *flags, "--run", name
    text = mpipgd(site, "submit", "--ntasks=2", "--", *words)
    return text.split()[1].rstrip(":"), site / name


def uninterrupted_hash(site, data, epochs):
    """Return the hash of the weights of the same training without a stop."""
    words = data, *FLAGS, "--epochs", epochs, "--run", "uninterrupted"
    mpipgd(site, "launch", "-n", 1, "--", *words)
    return read_summary(site / "uninterrupted")["weights_sha256"]


def test_stopped_jobs_resume_to_the_same_weights(site, data):
    epochs, stops = 100, random.Random(time.time_ns()).sample(range(1, 3000), 2)
    job, run = submit(site, data, "run", "--epochs", epochs)
    for count, steps in enumerate(stops, 1):
        request_stop(job, run, steps)
        wait_for_restart(job, count)
    status = mpipgd(site, "status", run)
    assert wait_for_end(job) == ("COMPLETED", len(stops)), read_output(run, job)
    assert "running" in status or "queued" in status or "stopped" in status
    assert "done" in mpipgd(site, "status", run)
    assert read_summary(run)["weights_sha256"] == uninterrupted_hash(site, data, epochs)
    messages = re.findall(STOP_MESSAGE, read_output(run, job))
    stop_steps = [int(step.replace(",", "")) for step in messages]
    starts = (run / "starts.jsonl").read_text().splitlines()
    start_steps = [json.loads(line)["step"] for line in starts]
    # each start continues where the one before stopped
    assert start_steps == [0, *stop_steps] == sorted(set(start_steps))


def test_the_run_of_a_cancelled_job_can_be_resumed(site, data):
    job, run = submit(site, data, "run", "--epochs", 60)
    wait_until(lambda: last_step(run) > 5000, 60, "at work")
    run_command("scancel", job)
    # SIGTERM makes a checkpoint, which must not bring the job back into the queue
    assert wait_for_end(job) == ("CANCELLED", 0)
    assert "nothing left" not in mpipgd(site, "launch", "-n", 2, "--", "--resume", run)
    assert read_summary(run)["weights_sha256"] == uninterrupted_hash(site, data, 60)


def test_a_job_that_is_told_to_end_is_not_requeued(site, data):
    job, run = submit(site, data, "run", "--epochs", 3000)
    wait_until(lambda: last_step(run) > 5000, 60, "at work")
    run_command("scancel", "--batch", "--signal=TERM", job)
    assert wait_for_end(job) == ("FAILED", 0)


def test_a_job_that_does_not_advance_is_given_up(site, data):
    job, run = submit(site, data, "run", "--epochs", 2, "--loss", "log")
    assert wait_for_end(job) == ("FAILED", 0)
    for count in (1, 2, 3):
        run_command("scontrol", "requeue", job)
        wait_for_restart(job, count)
        assert wait_for_end(job) == ("FAILED", count)
    text = read_output(run, job)
    assert "given up" in text and text.count("mpipgd: ") == 4


def test_a_job_that_stops_before_its_first_step_is_not_requeued(site, data):
    flags = "--epochs", 2, "--model", "mlp", "--hidden", "1500,1500"
    job, run = submit(site, data, "run", *flags, "--batch-size", 16_000)
    wait_until((run / "starts.jsonl").exists, 60, "running")
    run_command("scancel", "--batch", "--signal=USR1", job)
    state, restarts = wait_for_end(job)
    assert restarts <= 1  # at most once, if a step was made by then
    assert state == "COMPLETED" or "not requeued" in read_output(run, job)


def test_the_doctor_finds_an_srun_without_pmi(site):
    doctor = sys.executable, "-m", "mpipgd", "doctor", "--folder", site
    srun = "srun", "--mpi=none", "-n", 2
    text = run_command(*srun, *doctor, check=False, folder=site)
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
