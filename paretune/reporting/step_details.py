"""The report's table of what passes found: of each step with details, its summary and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.core.jsontools import Json, canonical
from paretune.reporting.answer import number
from paretune.study.results import Results

_SUMMARY = "summary"
CURVES = "curves"
"""What is drawn: ``{"x": label, "y": label, "lines": {name: [[x, y], ...]}}``."""
BITS = "bits"
"""Drawn by layer: ``{"rows": {matrix: [bits or null, ...]}, "others": {matrix: bits}}``."""


@dataclass(frozen=True)
class StepDetails:
    """What one step found.

    Attributes:
        step: The pass.
        summary: Its sentence; may be empty.
        figures: Everything else by name, as text.
        candidates: Numbers of those that were built through it.
        curves: What it measured while it worked (`CURVES`); may be empty.
        bits: How wide it made each matrix (`BITS`); may be empty.
    """

    step: str
    summary: str
    figures: Mapping[str, str]
    candidates: tuple[int, ...]
    curves: Mapping[str, Json] = field(default_factory=dict)
    bits: Mapping[str, Json] = field(default_factory=dict)


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
            {n: _text(value) for n, value in details.items() if n not in (_SUMMARY, CURVES, BITS)},
            tuple(dict.fromkeys(ids)),
            curves if isinstance(curves := details.get(CURVES), dict) else {},
            bits if isinstance(bits := details.get(BITS), dict) else {},
        )
        for step, details, ids in found.values()
    ]


def _text(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else canonical(value)
