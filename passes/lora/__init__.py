"""Passes that train or merge low-rank adapters."""
