"""What launchers say in the environment."""

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
