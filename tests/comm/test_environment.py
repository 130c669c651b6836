"""What launchers say in the environment."""

import subprocess
import sys

import pytest

from mpipgd.comm import environment
from mpipgd.errors import UsageError


@pytest.mark.parametrize("size", ["SLURM_STEP_NUM_TASKS", "PMI_SIZE"])
def test_programs_that_do_not_see_each_other_are_refused(monkeypatch, size):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(size, "4")
    environment.check_world_size(4)
    with pytest.raises(UsageError, match="started 4 programs, but MPI sees 1"):
        environment.check_world_size(1)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")  # mpirun -n 1 in an allocation
    environment.check_world_size(1)


@pytest.mark.programs
def test_an_interrupt_in_a_destructor_is_silent_and_not_lost():
    code = """
import os, signal, time
from mpipgd.comm import environment

environment.configure_environment()

class Resource:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

class Faulty:
    def __del__(self):
        raise ValueError("is shown")

Faulty()
try:
    Resource()
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.stdout == "interrupted\n"
    assert "is shown" in result.stderr and "Interrupt" not in result.stderr
