"""What several test files use: programs under mpirun, and small data files."""

import os
import subprocess
import sys
from pathlib import Path

from mpipgd.config import Train

BIN = Path(sys.executable).parent
ENV = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def start(ranks, *args, program=("-m", "mpipgd"), **env):
    """Start a program under mpirun, its output to be read; it dies with its time-out."""
    mpirun = ["timeout", "-k", "5", "100", BIN / "mpirun", "-n", str(ranks)]
    return subprocess.Popen(
        [*mpirun, sys.executable, *program, *map(str, args)],
        env=os.environ | ENV | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=90):
    """Return exit code, output and errors of a started program."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run(ranks, *args, **more):
    """Run a program under mpirun; return exit code, output and errors."""
    return finish(start(ranks, *args, **more))


def options(data, run, **more):
    """Return quiet options for a short run."""
    known = {"quiet": True, "workers": 8, "epochs": 3, "hang_after": 60.0}
    return Train(**known | {"data": str(data), "run": str(run)} | more)
