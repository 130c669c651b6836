"""Starting ranks: mpirun and srun, SLURM jobs and their requeueing, the doctor."""
