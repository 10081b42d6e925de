"""Checks that the measuring device counts energy, if an evaluator asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretune.core.job import Call, JobStatus, Limits
from paretune.core.jsontools import Json
from paretune.preflight.asking import ask
from paretune.registry import find_evaluator
from paretune.targets.split import measurer_of

if TYPE_CHECKING:
    from paretune.config import Plan
    from paretune.core.target import Target

_LIMITS = Limits(seconds=120.0)
_OTHERWISE = (
    "Without a counter, leave `energy` out of the evaluator, objectives and constraints, or "
    "measure on a device that has one (`target:`)."
)


def check_energy(plan: Plan, target: Target) -> tuple[str, ...]:
    """Refuse an evaluator that measures energy on a device without a counter.

    Args:
        plan: A checked configuration.
        target: Where the candidates are measured.

    Returns:
        Notes.

    Raises:
        UsageError: There is no counter, it cannot be read, or it does not count what a provider
            computes with.
    """
    notes = []
    for index, choice in enumerate(plan.evaluators):
        kind = find_evaluator(choice.name)
        names = getattr(kind(kind.Params(**choice.params)), "energy_sources", None)
        if names is None:
            continue
        args: dict[str, Json] = {"names": names, "providers": list(plan.providers)}
        call = Call("paretune.targets.worker.energy:problem", args)
        result = ask(measurer_of(target), call, _LIMITS)
        if result.status is not JobStatus.OK:
            notes.append(f"whether the device counts energy is not known: {result.reason}")
        elif result.value:
            message, hint = result.value
            raise plan.wrong_at(
                ("evaluate", index, choice.name),
                f"no energy can be measured on {target.info().name!r}: {message}",
                f"{hint} {_OTHERWISE}" if hint else _OTHERWISE,
            )
    return tuple(notes)
