"""A problem: a table with objectives, constraints and a reference point, and its exhaustive front.

The hypervolume of a search is that of the candidates that it would hand over: those that finished
and that form its feasible front by what the search itself has measured. Their *true* values are
scored; one that truly breaks a constraint counts for nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from simulator.hypervolume import Points, hypervolume
from simulator.tables import Table

from paretune.core.candidate import Candidate
from paretune.core.jsontools import Json
from paretune.search.constraints import Constraint, Limit, Objective, parse_constraint
from paretune.search.pareto import pareto_front
from paretune.search.space import AnyOf, Chain, PassSlot, Space, Stage

SHARE = 0.99
"""Of the exhaustive front's feasible hypervolume: a search that has it has reached its end."""


@dataclass(frozen=True)
class Problem:
    """What is searched for on a table.

    Attributes:
        name: Its name.
        table: The recorded figures.
        objectives: In order of importance.
        constraints: With numbers.
        reference: The worst value that counts, by metric.
        baseline: Tried first by every search; None: there is none.
        narrowed: What a search may propose, if that is less than the table's space.
    """

    name: str
    table: Table
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    reference: Mapping[str, float]
    baseline: Candidate | None = None
    narrowed: Space | None = field(default=None, repr=False)
    _scored: dict[frozenset[str], float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def space(self) -> Space:
        """What a search may propose."""
        return self.table.space if self.narrowed is None else self.narrowed

    def loss(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """Return the objectives' values, all to be minimized."""
        return tuple(
            values[o.metric] if o.direction == "minimize" else -values[o.metric]
            for o in self.objectives
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The constraints with their numbers in force."""
        truth = {} if self.baseline is None else self.table.truth(self.baseline)
        resolved = [constraint.resolve(truth) for constraint in self.constraints]
        return tuple(limit for limit in resolved if limit is not None)

    def feasible(self, values: Mapping[str, float]) -> bool:
        """Return whether values meet every constraint."""
        return all(limit.holds(values[limit.metric]) for limit in self.limits)

    @property
    def _reference(self) -> tuple[float, ...]:
        return self.loss(self.reference)

    def volume(self, candidates: Iterable[Candidate]) -> float:
        """Return the true feasible hypervolume of candidates, as a share of the exhaustive one."""
        given = {candidate.digest: candidate for candidate in candidates}
        key = frozenset(given)
        if key not in self._scored:
            truths = [self.table.truth(candidate) for candidate in given.values()]
            points = [self.loss(truth) for truth in truths if self.feasible(truth)]
            self._scored[key] = self._volume(points) / self.whole
        return self._scored[key]

    def _volume(self, points: Sequence[Sequence[float]]) -> float:
        return hypervolume(np.array(points), self._reference) if points else 0.0

    @cached_property
    def _front(self) -> tuple[Points, list[Candidate]]:
        """The exhaustive feasible front that counts, and one candidate for each of its points.

        Of candidates with equal true values it is the one that takes the least to build.
        """
        limits, reference = self.limits, np.asarray(self._reference)
        cheapest: dict[tuple[float, ...], tuple[float, Candidate]] = {}
        for candidate in self.table.distinct():
            truth = self.table.truth(candidate)
            if not all(limit.holds(truth[limit.metric]) for limit in limits):
                continue
            point = self.loss(truth)
            if any(a >= b for a, b in zip(point, reference, strict=True)):
                continue
            recipe = candidate.recipe
            seconds = sum(self.table.seconds(recipe[: i + 1]) for i in range(len(recipe)))
            if point not in cheapest or seconds < cheapest[point][0]:
                cheapest[point] = (seconds, candidate)
        if not cheapest:
            raise SystemExit(f"{self.name}: no candidate is feasible and within the reference")
        kept = _front_of(np.array(list(cheapest)))
        return kept, [cheapest[tuple(row)][1] for row in kept.tolist()]

    @cached_property
    def whole(self) -> float:
        """Hypervolume of the exhaustive feasible front."""
        return hypervolume(self._front[0], self._reference)

    @property
    def ideal(self) -> tuple[float, ...]:
        """The best value of each objective on the exhaustive front, all to be minimized."""
        return tuple(self._front[0].min(axis=0).tolist())

    @property
    def front(self) -> Sequence[Candidate]:
        """The exhaustive feasible front."""
        return self._front[1]


def _front_of(points: Points) -> Points:
    """Return the front of many points: each one removes what it dominates."""
    left, kept = points[np.argsort(points.sum(axis=1))], []
    while len(left):
        first, left = left[0], left[1:]
        left = left[~np.all(first <= left, axis=1)]
        kept.append(first)
    # A point with a smaller sum is not dominated by one with a larger sum.
    return np.array(kept)


def handed_over(
    values: Mapping[Candidate, Mapping[str, float]], problem: Problem
) -> Collection[Candidate]:
    """Return the feasible front of a search by its own values."""
    limits = problem.limits
    rows = {
        number: (candidate, found)
        for number, (candidate, found) in enumerate(values.items())
        if all(limit.holds(found.get(limit.metric)) for limit in limits)
    }
    front = pareto_front({n: found for n, (_, found) in rows.items()}, problem.objectives)
    return [rows[number][0] for number in front]


def narrowed(problem: Problem, fixed: Mapping[str, Json]) -> Problem:
    """Return the same problem, of which a search may propose less.

    Args:
        problem: The problem; what it is scored by stays.
        fixed: ``pass.parameter`` to its only value.
    """
    if not fixed:
        return problem
    space = problem.table.space
    stages = tuple(_fixed(stage, fixed) for stage in space.stages)
    made = copy.copy(problem)  # with the front that is known already
    object.__setattr__(made, "narrowed", replace(space, stages=stages))
    return made


def _fixed(stage: Stage, fixed: Mapping[str, Json]) -> Stage:
    if isinstance(stage, Chain):
        return Chain(tuple(_fixed(inner, fixed) for inner in stage.stages))
    if isinstance(stage, AnyOf):
        return AnyOf(tuple(_fixed(each, fixed) for each in stage.options), stage.optional)
    grid = {
        name: (fixed[f"{stage.name}.{name}"],) if f"{stage.name}.{name}" in fixed else values
        for name, values in stage.grid.items()
    }
    return PassSlot(stage.name, grid, stage.optional)


def make_problem(name: str, table: Table, told: Mapping[str, Any]) -> Problem:
    """Read a problem from its settings.

    Args:
        name: Its name.
        table: The recorded figures.
        told: ``objectives`` (metric to direction), ``reference`` (metric to number), optionally
            ``constraints`` (metric, operator and number in one string) and ``baseline`` (a
            recipe). A number may be ``qNN`` instead: that percentage of the table's candidates has
            a smaller value.
    """
    texts = [_with_numbers(table, text) for text in told.get("constraints", ())]
    baseline = told.get("baseline")
    return Problem(
        name,
        table,
        tuple(Objective(metric, way) for metric, way in told["objectives"].items()),
        tuple(map(parse_constraint, texts)),
        {
            metric: _number(table, metric, told["reference"][metric])
            for metric in told["objectives"]
        },
        None if baseline is None else _candidate(baseline),
    )


def _candidate(told: Mapping[str, Any]) -> Candidate:
    runtime = {"provider": "cpu", "threads": 1, **told.get("runtime", {})}
    return Candidate.from_json({"recipe": told["recipe"], "runtime": runtime})


def _with_numbers(table: Table, text: str) -> str:
    metric, operator, number = text.split(maxsplit=2)
    if not number.startswith("q"):
        return text
    return f"{metric} {operator} {_number(table, metric, number):.6g}"


def _number(table: Table, metric: str, given: float | str) -> float:
    """Return a number, or the percentile of the table's true values that it stands for."""
    if not isinstance(given, str):
        return float(given)
    share = float(given.removeprefix("q")) / 100
    known = sorted(table.truth(candidate)[metric] for candidate in table.distinct())
    return known[min(len(known) - 1, math.floor(share * len(known)))]
