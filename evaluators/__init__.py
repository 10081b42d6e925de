"""Evaluators: each yields measurements of a model on a target; one file an evaluator."""
