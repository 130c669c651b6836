"""MPI: who hosts which workers, and sums over them in one fixed order."""
