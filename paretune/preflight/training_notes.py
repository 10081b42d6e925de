"""Notes on training precisions that are slow on this device, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.registry import find_pass
from paretune.search.sample import covering

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.candidate import Candidate
    from paretune.core.target import Target

_LIMITS = Limits(seconds=120.0)


def training_notes(plan: Plan, baseline: Candidate, target: Target) -> tuple[str, ...]:
    """Return a note if the plan trains in a precision that is many times slower here than fp32.

    Nothing is measured if all trainings compute in fp32.

    Args:
        plan: A checked configuration.
        baseline: Its baseline.
        target: Where it would train; the measurement is a job there.
    """
    dtypes = sorted(precisions(plan, baseline) - {"fp32"})
    if not dtypes:
        return ()
    call = Call("paretune.passes.lora.precision:notes", {"dtypes": dtypes})
    result = target.submit(Job(call, _LIMITS)).result()
    if result.status is not JobStatus.OK:
        return (
            f"the speed of training in {', '.join(dtypes)} could not be measured here: "
            f"{result.reason}",
        )
    return tuple(result.value)


def precisions(plan: Plan, baseline: Candidate) -> set[str]:
    """Return every precision that a training of the plan computes in."""
    steps = {
        (step.name, *(step.params.get(f) for f in _fields(step.name))): step
        for candidate in (baseline, *plan.try_first, *covering(plan.space))
        for step in candidate.recipe
        if _fields(step.name)
    }
    found: set[str] = set()
    for step in steps.values():
        try:
            params: Any = find_pass(step.name).Params(**step.params)
        except ValidationError:
            continue  # ruled out with its reason by the prechecks
        found.update(params.precisions())
    return found


def _fields(name: str) -> tuple[str, ...]:
    fields: tuple[str, ...] = getattr(find_pass(name).Params, "precision_fields", ())
    return fields
