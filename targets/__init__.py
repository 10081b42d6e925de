"""Targets: where candidates run, isolated; devices, execution providers, the worker process."""
