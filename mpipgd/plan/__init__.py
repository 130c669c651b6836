"""Which rows a worker reads at which step: a function of the workers alone."""
