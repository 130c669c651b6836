"""Start the runs of a study that are not there yet, and read what runs have left."""

import json
import shutil
import subprocess
from pathlib import Path

from ...cluster import launcher, slurm
from ...config import toml
from ...errors import DivergenceError, MpipgdError, UsageError

SHARES = ("compute", "exchange", "wait", "read")


def run_missing(study, folder, say, *, ranks=None, before=lambda repeat: None):
    """Run what is missing, on all or on some numbers of ranks; say how each went.

    A run that was interrupted, or failed otherwise than by diverging, begins again.
    `before(repeat)` is called before each.
    """
    points = [each for each in study.points() if ranks is None or each.ranks in ranks]
    for number, point in enumerate(points, 1):
        before(point.repeat)
        found = record(study, folder, point)
        if found is None or found["exit"] not in (0, DivergenceError.code):
            _run(study, folder, point)
            found = record(study, folder, point)
        said = found["status"]
        if said == "ok":
            said = f"{found['epoch_seconds']:.4g} s an epoch"
        name = f"{point.mode} {point.label}, {point.ranks} ranks"
        say(f"{number}/{len(points)}  {name}: {said}")


def _run(study, folder, point):
    run = folder / "runs" / point.name
    shutil.rmtree(run, ignore_errors=True)  # what an interrupted one has left
    run.mkdir(parents=True)
    settings = run / "settings.toml"
    settings.write_text(toml.to_text(study.options(point, folder)))
    words = launcher.launch_command(point.ranks)
    command = [*words, *launcher.mpipgd_command("train", "--config", settings)]
    with open(run / "output.txt", "wb") as output:
        started = launcher.RankProcess(
            command,
            env=launcher.launch_environment(point.ranks),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        code = started.wait()
    if started.stopped:
        raise UsageError(f"interrupted; go on with: mpipgd scale --out {folder}")
    (run / "exit.json").write_text(json.dumps({"exit": code}))


def records(study, folder):
    """Return the records of all runs of a study that have ended."""
    found = (record(study, folder, point) for point in study.points())
    return [each for each in found if each is not None]


def record(study, folder, point):
    """Return what a run has left, as a dict; None where it has not ended.

    epoch_seconds: mean seconds of training an epoch, without the first one.
    """
    run = Path(folder) / "runs" / point.name
    if not (run / "exit.json").exists():
        return None
    code = json.loads((run / "exit.json").read_text())["exit"]
    found = vars(point) | {"exit": code, "folder": str(run)}
    if code:
        lines = (run / "output.txt").read_text(errors="replace").splitlines()
        said = [each for each in lines if each.startswith("mpipgd: ")]
        why = (said or lines[-1:] or [""])[0].removeprefix("mpipgd: ")
        return found | {"status": f"exit {code}: {why}"}
    summary = json.loads((run / "summary.json").read_text())
    machine = json.loads((run / "env.json").read_text())
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    epochs = [each for each in lines if each["event"] == "epoch"]
    parts = {name: summary["time"][name]["mean"] for name in SHARES}
    kept = ("loss", "score", "epochs", "steps", "workers", "samples_per_second")
    return found | parts | {key: summary[key] for key in (*kept, "weights_sha256")} | {
        "status": "ok",
        "epoch_seconds": _epoch_seconds(epochs),
        "seconds": summary["seconds"],
        "curve": [(e["epoch"], e["seconds"], e["loss"]) for e in epochs],
        "crowded": max(machine["hosts"].values()) > machine["cores"],
        "nodes": len(machine["hosts"]),
        "library": machine["mpi"],
        "cores": machine["cores"],
        "platform": machine["platform"],
    }  # fmt: skip


def _epoch_seconds(epochs):
    first, last = epochs[0], epochs[-1]
    if first is last:
        return last["seconds"] / max(1, last["epoch"])
    return (last["seconds"] - first["seconds"]) / (last["epoch"] - first["epoch"])


def submit_jobs(study, folder, options, say):
    """Submit a job of SLURM for each number of ranks; each collects what there is."""
    for ranks in study.ranks:
        words = ["scale", "--out", str(folder), "--only", str(ranks)]
        given = [f"--ntasks={ranks}", "--job-name=mpipgd-scale", *options]
        path = folder / f"job-{ranks:04d}.sbatch"
        path.write_text(slurm.job_script(words, given, folder))
        say(f"job {slurm.submit(path)}: {ranks} ranks, {path}")
    say(f"when they have ended, look at {folder}/index.html; at any time:")
    say(f"    mpipgd scale --out {folder} --collect")


def resolve_data(study_data, folder):
    """Return the path of the data; a bundled set is made once, in the folder."""
    from ...data.create.bundled import BUNDLED

    if Path(study_data).exists():
        return str(Path(study_data).absolute())  # the study may go on from elsewhere
    if study_data not in BUNDLED:
        return str(study_data)
    path = folder / "data.h5"
    if not path.exists():
        words = launcher.mpipgd_command("data", "make", study_data, path)
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise MpipgdError(f"{' '.join(words)}: {done.stderr.strip()}")
    return str(path.absolute())
