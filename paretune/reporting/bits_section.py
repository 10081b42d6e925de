"""The report's section on mixed precision: bits by layer, expected and measured divergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.core.fidelity import KL
from paretune.core.jsontools import Json
from paretune.reporting.answer import number
from paretune.reporting.step_details import StepDetails
from paretune.study.results import Results

_EXPECTED = "expected_kl_per_token"
_MAX_DRAWN = 8


@dataclass(frozen=True)
class BitsGrid:
    """The bits of one build.

    Attributes:
        title: Whose it is.
        summary: The sentence of the step.
        divergence: What was expected and what was measured, as text; may be empty.
        layers: How many columns there are.
        rows: Of each kind of matrix its name and its bits by layer; None: the layer has none.
        others: Matrices outside the layers, with their bits.
    """

    title: str
    summary: str
    divergence: str
    layers: int
    rows: tuple[tuple[str, tuple[int | None, ...]], ...]
    others: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class BitsSection:
    """The builds that are drawn, and how many are not."""

    grids: tuple[BitsGrid, ...]
    missing: int


def bits_section(steps: list[StepDetails], results: Results) -> BitsSection | None:
    """Return what is drawn of at most eight builds, the pick's first; None: no build has bits.

    Args:
        steps: What passes found; it may come from anywhere.
        results: With the measured divergences.
    """
    told = [(step, grid) for step in steps if (grid := _grid(step, results)) is not None]
    if not told:
        return None
    told.sort(key=lambda one: results.best not in one[0].candidates)
    grids = tuple(grid for _, grid in told)
    return BitsSection(grids[:_MAX_DRAWN], max(0, len(grids) - _MAX_DRAWN))


def _grid(step: StepDetails, results: Results) -> BitsGrid | None:
    given = step.bits.get("rows")
    rows = {
        str(name): tuple(map(_bits, values))
        for name, values in (given.items() if isinstance(given, Mapping) else ())
        if isinstance(values, list)
    }
    layers = max(map(len, rows.values()), default=0)
    if not layers:
        return None
    beside = step.bits.get("others")
    others = {
        str(name): bits
        for name, value in (beside.items() if isinstance(beside, Mapping) else ())
        if (bits := _bits(value)) is not None
    }
    of = ", ".join(map(str, step.candidates))
    pick = " (the pick)" if results.best in step.candidates else ""
    return BitsGrid(
        f"Candidate{'s' if len(step.candidates) > 1 else ''} {of}{pick}",
        step.summary,
        _divergence(step, results),
        layers,
        tuple((name, bits + (None,) * (layers - len(bits))) for name, bits in rows.items()),
        tuple(others.items()),
    )


def _bits(value: Json) -> int | None:
    return value if type(value) is int else None


def _divergence(step: StepDetails, results: Results) -> str:
    """Return the expected divergence beside the measured one."""
    expected = step.figures.get(_EXPECTED)
    if expected is None:
        return ""
    measured = [
        value
        for candidate in results.candidates
        if candidate.id in step.candidates and (value := candidate.value(KL)) is not None
    ]
    found = f"measured {number(measured[0])}" if measured else "not measured"
    return f"Divergence from the source, nats per token: expected {expected}, {found}."
