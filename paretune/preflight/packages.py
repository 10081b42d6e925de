"""Refuses a search whose passes need packages that are not installed, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.packages import check_installed
from paretune.registry import find_evaluator, find_pass

if TYPE_CHECKING:
    from paretune.config import Plan

_SEARCH = ("optuna", "plotly", "scikit-learn")


def check_packages(plan: Plan) -> None:
    """Check the packages of the search itself and of each pass and evaluator that is named.

    Raises:
        UsageError: A package is not installed; with the command that installs it.
    """
    check_installed("a search", _SEARCH)
    fixed = (*(plan.baseline or ()), *(s for c in plan.try_first for s in c.recipe))
    for name in sorted({*plan.space.pass_names, *(step.name for step in fixed)}):
        check_installed(f"the pass {name}", find_pass(name).packages)
    for name in sorted({choice.name for choice in plan.evaluators}):
        needed = getattr(find_evaluator(name), "packages", ())
        check_installed(f"the evaluator {name}", needed)
