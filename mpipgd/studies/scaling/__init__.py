"""Train on several numbers of ranks, and model how it scales."""
