"""Train with several strategies on the same data, and rank them."""
