"""The recipe of the baseline, which needs no device to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.candidate import Step
from paretune.core.model import ModelKind

if TYPE_CHECKING:
    from paretune.config import Plan


def baseline_recipe(plan: Plan, kind: str) -> tuple[Step, ...]:
    """Return the configured baseline, else the unchanged input, built to fp32 if others are.

    Args:
        plan: A checked configuration.
        kind: Of the input model.
    """
    if plan.baseline is not None:
        return plan.baseline
    adapter = kind == ModelKind.HF_ADAPTER
    builds = adapter or kind == ModelKind.HF
    built = {"genai", "genai_adapter"} if adapter else {"genai"}
    recipe = (Step("merge", {}),) if adapter else ()
    if builds and built & set(plan.space.pass_names):
        recipe = (*recipe, Step("genai", {"precision": "fp32"}))
    return recipe
