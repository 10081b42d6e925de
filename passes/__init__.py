"""Passes: each turns a model of one kind into a model of another; one file per pass."""
