"""The best so far over time: derived from the outcomes, nothing of it is stored.

A point of the curve says what the trials that had ended by then are worth by what is known now:
their values are today's, those of finalists re-measured, and so are the limits. The curve therefore
never falls, and a resumed or re-read study gives the same one.

- **Time** (`Point.at_s`) is the study's spent time, as ``--time`` counts it: wall seconds of
  searching, summed over resumes. An outcome holds it as ``ended_s``. For an outcome of an earlier
  version, which does not, it is the sum of the seconds of the outcomes up to it, by number.
- **Best** is the pick among the feasible candidates that had ended by then.
- **Hypervolume** is that of the feasible candidates that had ended by then, divided by that of all
  that the study has: 1 at the end. The reference point has, in each objective, the worst value of a
  feasible candidate of the whole study, moved away from the best one by a tenth of their distance.
  It is exact (`paretune/stats/hypervolume.py`). It depends on the study's own candidates, so that
  two studies cannot be compared by it.

There is a point for each trial that changed the best or the hypervolume, and one for the end.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from paretune.core.jsontools import Json
from paretune.core.result import TrialResult
from paretune.search.constraints import Objective
from paretune.search.pareto import best_of
from paretune.search.summary import StudySummary, rests_on_others
from paretune.stats import hypervolume

_BEYOND = 0.1
"""How far the reference point lies beyond the worst values, as a share of their range."""
_SHARE = 0.02
"""Of the time of a search, what its curve may take while it runs."""
RECENT_S = 300.0
"""How far back the display looks for what was gained."""


@dataclass(frozen=True)
class Point:
    """Where a study stood at one moment, by what is known now.

    Attributes:
        at_s: Seconds that the study had spent.
        trials: Trials that had ended after a job.
        best: Id of the pick among what had ended.
        values: Its objectives.
        hypervolume: Of what had ended, as a share of that of the whole study.
    """

    at_s: float
    trials: int
    best: int
    values: Mapping[str, float]
    hypervolume: float

    def to_json(self) -> dict[str, Json]:
        """Return it as ``results.json`` has it."""
        return {
            "at_s": round(self.at_s, 3),
            "trials": self.trials,
            "best": self.best,
            "values": dict(self.values),
            "hypervolume": self.hypervolume,
        }


@dataclass(frozen=True)
class Box:
    """What a hypervolume is relative to: the range of the feasible candidates' objectives."""

    objectives: tuple[Objective, ...]
    worst: tuple[float, ...]
    best: tuple[float, ...]

    @classmethod
    def around(cls, rows: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> Box:
        """Return the box of all values; at least one row."""
        least, most = (tuple(map(end, zip(*rows, strict=True))) for end in (min, max))
        down = [o.direction == "minimize" for o in objectives]
        return cls(
            tuple(objectives),
            tuple(b if d else a for a, b, d in zip(least, most, down, strict=True)),
            tuple(a if d else b for a, b, d in zip(least, most, down, strict=True)),
        )

    def point(self, row: Sequence[float]) -> hypervolume.Point:
        """Return a candidate's distances from the reference point, as shares of the ranges."""
        return tuple(
            _BEYOND + (value - worst) / ((best - worst) or 1.0)
            for value, worst, best in zip(row, self.worst, self.best, strict=True)
        )

    def reference(self) -> dict[str, float]:
        """Return the reference point, by metric."""
        return {
            o.metric: worst - _BEYOND * (best - worst)
            for o, worst, best in zip(self.objectives, self.worst, self.best, strict=True)
        }


@dataclass(frozen=True)
class Progress:
    """The curve of one study.

    Attributes:
        points: In the order of time; none as long as nothing is feasible.
        reference: The reference point of the hypervolume, by metric.
    """

    points: tuple[Point, ...] = ()
    reference: Mapping[str, float] | None = None

    @property
    def found_s(self) -> float | None:
        """When the best of all was found; None: nothing is feasible."""
        return next((p.at_s for p in self.points if p.best == self.points[-1].best), None)

    def gained_since(self, at_s: float) -> float:
        """Return the share of the hypervolume that was gained after a moment."""
        place = bisect_right(self.points, at_s, key=lambda point: point.at_s)
        before = self.points[place - 1].hypervolume if place else 0.0
        return self.points[-1].hypervolume - before if self.points else 0.0


def ended(outcomes: Sequence[TrialResult]) -> list[tuple[float, TrialResult]]:
    """Return the outcomes in the order in which they ended, each with the seconds spent by then."""
    found, spent = [], 0.0
    for outcome in sorted(outcomes, key=lambda outcome: outcome.id):
        spent += outcome.spent_s
        found.append((spent if outcome.ended_s is None else outcome.ended_s, outcome))
    return sorted(found, key=lambda one: (one[0], one[1].id))


def progress(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    prefer: str | None = None,
    spent_s: float = 0.0,
) -> Progress:
    """Return the best so far over time.

    Args:
        outcomes: All of a study's.
        summary: Derived from them.
        objectives: In order of importance.
        prefer: Metric that the pick is chosen by first.
        spent_s: Seconds that the study has spent, if that is more than the last trial's end.
    """
    wanted = [objective.metric for objective in objectives]
    feasible = {
        o.id: o for o in outcomes if o.id in summary.feasible and not rests_on_others(o, wanted)
    }
    rows = {id: row for id, o in feasible.items() if (row := _row(o, objectives)) is not None}
    if not rows:
        return Progress()
    box = Box.around(list(rows.values()), objectives)
    front: dict[int, hypervolume.Point] = {}
    points: list[Point] = []
    volume, trials, at_s = 0.0, 0, 0.0
    for at_s, outcome in ended(outcomes):
        trials += outcome.ran_job
        if outcome.id not in rows:
            continue
        mine = box.point(rows[outcome.id])
        if any(_beats(other, mine) for other in front.values()):
            continue
        more = hypervolume.added(mine, list(front.values()))
        front = {id: other for id, other in front.items() if not _beats(mine, other)}
        front[outcome.id] = mine
        volume += more
        measured = {id: feasible[id].measurements or {} for id in front}
        best = best_of(list(front), measured, objectives, prefer)
        assert best is not None
        if more > 0 or best != points[-1].best:
            values = dict(zip((o.metric for o in objectives), rows[best], strict=True))
            points.append(Point(at_s, trials, best, values, volume))
    at_s = max(at_s, spent_s)
    if at_s > points[-1].at_s:
        last = points[-1]
        points.append(Point(at_s, trials, last.best, last.values, volume))
    shares = (
        Point(p.at_s, p.trials, p.best, p.values, min(1.0, p.hypervolume / volume)) for p in points
    )
    return Progress(tuple(shares), box.reference())


@runtime_checkable
class ShowsProgress(Protocol):
    """A watcher that shows the best so far over time."""

    def so_far(self, progress: Progress, spent_s: float) -> None:
        """A candidate ended, and is reported next.

        Args:
            progress: The curve, of a moment ago where many candidates end within seconds.
            spent_s: Seconds that the study has spent.
        """


class RunningProgress:
    """The curve of a search under way, derived again where something changed and it costs little.

    Args:
        objectives: In order of importance.
        prefer: Metric that the pick is chosen by first.
    """

    def __init__(self, objectives: Sequence[Objective], prefer: str | None = None) -> None:
        self._asked = (tuple(objectives), prefer)
        self._front: tuple[int, ...] | None = None
        self._next = 0.0
        self._known = Progress()

    def of(self, outcomes: Sequence[TrialResult], summary: StudySummary) -> Progress:
        """Return the curve; of a moment ago, where many candidates end within seconds.

        Args:
            outcomes: All of a study's.
            summary: Derived from them.
        """
        begun = time.monotonic()
        if self._front != summary.front and begun >= self._next:
            self._known = progress(outcomes, summary, *self._asked)
            self._front = summary.front
            now = time.monotonic()
            self._next = now + (now - begun) / _SHARE
        return self._known


def _row(outcome: TrialResult, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """Return the values of the objectives; None if one is missing."""
    values = [outcome.value(objective.metric) for objective in objectives]
    found = tuple(value for value in values if value is not None and math.isfinite(value))
    return found if len(found) == len(objectives) else None


def _beats(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether the first dominates the second, more being better."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))
