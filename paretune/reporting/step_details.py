"""The report's table of what passes found: of each step with details, its summary and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.jsontools import Json, canonical
from paretune.reporting.answer import number
from paretune.study.results import Results

_SUMMARY = "summary"


@dataclass(frozen=True)
class StepDetails:
    """What one step found.

    Attributes:
        step: The pass.
        summary: Its sentence; may be empty.
        figures: Everything else by name, as text.
        candidates: Numbers of those that were built through it.
    """

    step: str
    summary: str
    figures: Mapping[str, str]
    candidates: tuple[int, ...]


def step_details(results: Results) -> list[StepDetails]:
    """Return the steps that found something, each once, in the order of the candidates."""
    found: dict[str, tuple[str, dict[str, Json], list[int]]] = {}
    for candidate in results.candidates:
        for entry in candidate.seconds:
            if entry.details:
                key = canonical([entry.step, entry.details])
                _, _, ids = found.setdefault(key, (entry.step, entry.details, []))
                ids.append(candidate.id)
    return [
        StepDetails(
            step,
            str(details.get(_SUMMARY, "")),
            {name: _text(value) for name, value in details.items() if name != _SUMMARY},
            tuple(dict.fromkeys(ids)),
        )
        for step, details, ids in found.values()
    ]


def _text(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else canonical(value)
