"""Many runs and one page: comparisons of strategies, scaling studies."""
