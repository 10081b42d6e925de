"""Evaluators of what a model predicts or writes."""
