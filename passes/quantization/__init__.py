"""The grids that weights are rounded to, shared by passes that round and by training."""
