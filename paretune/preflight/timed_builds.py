"""Refuses builds that depend on the times of a device which is not the one that is measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paretune.core.errors import UsageError
from paretune.core.target import is_far
from paretune.plugin_identity import device_matters
from paretune.registry import find_pass
from paretune.study.identity import steps_of

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target


def check_timed_builds(
    plan: Plan, candidates: Iterable[Candidate], targets: Iterable[Target]
) -> None:
    """Check that this machine builds and measures, if the times of a device decide what is built.

    Args:
        plan: A checked configuration.
        candidates: Those beside the space.
        targets: Where builds and measurements run.

    Raises:
        UsageError: One of them is another machine or interpreter.
    """
    far = next(filter(is_far, targets), None)
    if far is None:
        return
    for step in steps_of(plan.space, candidates):
        if device_matters(find_pass(step.name), step.params):
            raise UsageError(
                f"pass {step.name}: cost: time takes times of the machine that builds, and they "
                f"hold for that device only; this search runs jobs on {far.info().name!r}",
                hint="Give cost: bytes, which is the same on every device.",
            )
