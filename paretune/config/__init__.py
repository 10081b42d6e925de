"""The configuration: read, checked whole, and turned into a plan that needs nothing else to run."""

from paretune.config.loading import load
from paretune.config.plan import EvaluatorChoice, Plan, SearchSettings

__all__ = ["EvaluatorChoice", "Plan", "SearchSettings", "load"]
