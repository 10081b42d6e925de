"""Notes on passes whose builds cannot be compared with their source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.registry import find_pass

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate


def uncompared_notes(plan: Plan, baseline: Candidate) -> tuple[str, ...]:
    """Return a note for each pass that does not declare how its output relates to its input.

    Args:
        plan: A checked configuration.
        baseline: Its baseline.
    """
    first = (baseline, *plan.try_first)
    used = {*plan.space.pass_names, *(step.name for c in first for step in c.recipe)}
    return tuple(
        f"the builds of the pass {name!r} are not compared with their source, because the pass "
        "does not declare how they relate to it (a method `fidelity`: docs/extending.md)"
        for name in sorted(used)
        if getattr(find_pass(name), "fidelity", None) is None
    )
