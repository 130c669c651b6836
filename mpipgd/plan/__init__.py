"""Which rows a worker reads at which step: a function of the workers, never the ranks."""
