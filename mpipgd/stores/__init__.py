"""Where the weights live and when the workers synchronize; the strategies."""
