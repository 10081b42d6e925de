"""What is said of passes whose builds cannot be compared with what they are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.registry import find_pass

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate


def uncompared_notes(plan: Plan, baseline: Candidate) -> tuple[str, ...]:
    """Return a note a pass that does not say what its output is to its input.

    Args:
        plan: A checked configuration.
        baseline: Its baseline.
    """
    first = (baseline, *plan.try_first)
    used = {*plan.space.pass_names, *(step.name for c in first for step in c.recipe)}
    return tuple(
        f"what the pass {name!r} builds is not compared with what it is built from: it does not "
        "say what the one is to the other (a method `fidelity`: docs/extending.md)"
        for name in sorted(used)
        if getattr(find_pass(name), "fidelity", None) is None
    )
