"""Conformance suites: what every pass, evaluator, runtime, kind, target and strategy keeps to.

The author of a plug-in calls one function in a test of their own, with the name that the plug-in is
registered by::

    from paretune.testing import check_pass

    def test_prune():
        check_pass("prune", {"share": 0.2}, model="tests/tiny-model")

What does not hold raises an `AssertionError` that says so.
"""

from paretune.testing.evaluators import check_evaluator
from paretune.testing.kinds import check_kind
from paretune.testing.passes import check_pass
from paretune.testing.runtimes import check_runtime
from paretune.testing.strategies import check_strategy
from paretune.testing.targets import check_target

__all__ = [
    "check_evaluator",
    "check_kind",
    "check_pass",
    "check_runtime",
    "check_strategy",
    "check_target",
]
