"""Start ranks by mpirun and srun, submit and requeue SLURM jobs, examine machines."""
