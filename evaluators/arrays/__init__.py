"""Evaluators of models that take and give named arrays."""
