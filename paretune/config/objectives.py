"""Reads ``objectives``; notes objectives and constraints that ask for the worse end of a metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paretune.config.optional_metrics import yielded_by
from paretune.config.yaml_source import Path as KeyPath
from paretune.config.yaml_source import Wrong
from paretune.core.errors import nearest
from paretune.core.measurement import Direction, MetricSpec
from paretune.search.constraints import Constraint, Objective
from paretune.search.tolerance import DEFAULT, EXPECTED, Tolerance, parse_tolerance

_LIST = "Such as: objectives: [{maximize: accuracy, within: 0.01}, {minimize: decode_ms_p50}]."


def read_objectives(
    given: Any, specs: Mapping[str, MetricSpec], wrong: Wrong
) -> tuple[Objective, ...]:
    """Return the objectives, most important first.

    Args:
        given: A mapping of ``minimize`` and ``maximize`` to metrics, or a list of entries, each
            with an optional ``within``.
        specs: Every metric that is measured, by name.
        wrong: Called with each error: key, message and hint.
    """
    found: dict[str, Objective] = {}
    for at, direction, metric, within in _entries(given, wrong):
        if not isinstance(metric, str):
            wrong(at, f"expected a metric's name, found {metric!r:.60}", _LIST)
            continue
        if metric not in specs:
            hint = yielded_by(metric) or nearest(metric, specs)
            wrong(at, f"no evaluator yields the metric {metric!r}", hint)
        if metric in found:
            wrong(at, f"{metric} is given as an objective twice", None)
        tolerance = _tolerance(within, direction, specs.get(metric), (*at, "within"), wrong)
        found[metric] = Objective(metric, direction, tolerance)
    if not found:
        wrong(
            ("objectives",),
            "there is no metric, expected at least one",
            "Example: {maximize: accuracy, minimize: decode_ms_p50}.",
        )
    return tuple(found.values())


_NONE = object()


def _entries(given: Any, wrong: Wrong) -> Iterable[tuple[KeyPath, Direction, Any, Any]]:
    """Yield each objective's key, direction, metric and tolerance, as written."""
    if isinstance(given, list):
        for i, entry in enumerate(given):
            rest = {key: value for key, value in entry.items() if key != "within"}
            within = entry.get("within", _NONE)
            if within is not _NONE and len(rest) != 1:
                wrong(
                    ("objectives", i),
                    "expected exactly one of minimize and maximize beside `within`",
                    _LIST,
                )
                within = _NONE
            for direction, metric in rest.items():
                yield ("objectives", i), direction, metric, within
        return
    for direction, some in given.items():
        if direction == "within":
            wrong(
                ("objectives", "within"),
                "`within` belongs to one objective: write the objectives as a list",
                _LIST,
            )
            continue
        for metric in some if isinstance(some, list) else [some]:
            yield ("objectives", direction), direction, metric, _NONE


def _tolerance(
    within: Any, direction: Direction, spec: MetricSpec | None, at: KeyPath, wrong: Wrong
) -> Tolerance:
    if within is _NONE:
        return DEFAULT
    try:
        tolerance = parse_tolerance(within)
    except ValueError as error:
        wrong(at, f"{error}, found {within!r:.60}", None)
        return DEFAULT
    problem = too_wide(tolerance, direction, None if spec is None else spec.unit)
    if problem is not None:
        wrong(at, problem, EXPECTED[0].upper() + EXPECTED[1:] + ".")
    return tolerance


def too_wide(tolerance: Tolerance, direction: Direction, unit: str | None) -> str | None:
    """Return why a tolerance excludes no candidate; None if it does.

    Args:
        tolerance: The tolerance.
        direction: The objective's direction.
        unit: The metric's unit; None if unknown.
    """
    if tolerance.relative and direction == "maximize" and tolerance.amount >= 1:
        return f"every value down to 0 is within {tolerance} of the best value"
    if not tolerance.relative and unit == "fraction" and tolerance.amount >= 1:
        return (
            f"the metric is a fraction between 0 and 1, so every value is within {tolerance} of "
            f"the best value; for {tolerance} percentage points write {tolerance.amount / 100:g}"
        )
    return None


def against_the_grain(
    objectives: Iterable[Objective],
    constraints: Iterable[Constraint],
    specs: Mapping[str, MetricSpec],
) -> tuple[str, ...]:
    """Return notes on objectives and constraints that ask for the worse end of a metric.

    Args:
        objectives: As configured.
        constraints: As configured.
        specs: Every metric that is measured, by name.
    """
    notes = []
    for objective in objectives:
        spec = specs.get(objective.metric)
        if spec is not None and spec.direction != objective.direction:
            notes.append(
                f"objectives: {objective.direction} {objective.metric}, though {_better(spec)} is "
                f"better: this searches for the worst model; write {spec.direction} "
                f"{objective.metric} to search for the best"
            )
    for constraint in constraints:
        spec = specs.get(constraint.metric)
        upper = constraint.op in ("<", "<=")
        if spec is not None and upper != (spec.direction == "minimize"):
            notes.append(
                f"constraints: {constraint.text} rules out models whose {constraint.metric} is "
                f"better ({_better(spec)} is better)"
            )
    return tuple(notes)


def _better(spec: MetricSpec) -> str:
    return "less" if spec.direction == "minimize" else "more"
