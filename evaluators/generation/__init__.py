"""The evaluator of generation speed, and how it times."""
