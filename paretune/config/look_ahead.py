"""Parameters whose value depends on the passes that follow, put into each recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from paretune.core.candidate import Step
from paretune.core.jsontools import Json
from paretune.registry import find_pass
from paretune.search.stages import NEXT, Chain, LookAhead, Stage, Steps, slots_of

_OfPass: TypeAlias = Callable[[Mapping[str, Json], Sequence[Step]], "dict[str, Json] | str"]


def look_ahead(recipe: Steps) -> Steps:
    """Return a recipe with what its passes make of the steps that follow each of them.

    A step that cannot work before those that follow stays as it is; the checks before the first
    job say why (`paretune.search.prechecks`).
    """
    found: Steps = ()
    for step in reversed(recipe):
        ahead: _OfPass | None = getattr(find_pass(step.name), "look_ahead", None)
        params = step.params if ahead is None else ahead(step.params, found)
        found = ((step if isinstance(params, str) else Step(step.name, params)), *found)
    return found


def looking_ahead(stages: Sequence[Stage]) -> LookAhead | None:
    """Return `look_ahead` if any parameter of any pass waits for it, else None."""
    slots = slots_of(Chain(tuple(stages)))
    waits = any(NEXT in values for slot in slots for values in slot.grid.values())
    return look_ahead if waits else None
