"""The brain: space, strategies (ask and tell), constraints, Pareto set and the engine's loop.

Nothing in this folder imports torch, onnxruntime, a pass or an evaluator: the search knows
their declarations only.
"""
