"""How probable it is that the pick is what it was picked for.

That is: within the first objective's tolerance of the best feasible candidate, within the next
one's of the best of those left, and so on; and on the right side of each limit. All
candidates that may dominate it are drawn together, so that the best of many lucky ones is not taken
for better than it is (`search/confirm/joint.py`). A limit relative to the baseline is compared on
the same examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paretune.core.jsontools import Json
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.borderline import side_of
from paretune.search.confirm.contenders import contenders
from paretune.search.confirm.joint import MIN_COUNT, Draws, Errors, errors_of
from paretune.search.confirm.paired_draws import PairedDraws
from paretune.search.constraints import Limit, Objective, in_order
from paretune.search.summary import StudySummary
from paretune.stats.paired import in_rounds, limit_alpha

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

SETTLED = 0.95
"""Probability from which on nothing more needs to be measured."""
_DRAWS = 4000
_MAX_TIMES = 1000.0
"""No larger number of examples is proposed, as a multiple of today's."""


@dataclass(frozen=True)
class Part:
    """One thing that the pick should be.

    Attributes:
        what: The metric of an objective, or a limit as written.
        probability: That it holds; None: nothing is known of how far off a value may be.
        reason: Why it is not known.
    """

    what: str
    probability: float | None
    reason: str | None = None


@dataclass(frozen=True)
class PickConfidence:
    """How sure a pick is.

    Attributes:
        id: The pick.
        probability: That everything holds which can be judged; None: nothing can.
        within: By objective that filters, in order.
        limits: By limit.
        best: That it is the best feasible candidate, as far as the tolerances tell candidates
            apart: that it meets each limit and is within the tolerance of each objective in
            order, the last included, of the best feasible candidate of those left; None: nothing
            can be judged. Speeds of finalists follow from the rounds that they share.
        examples: On how many examples the objectives and limits were measured; 0: on none.
        examples_needed: How many examples would make `probability` reach 0.95 if the measured
            values are right; None: it is reached, or no number of examples would do.
        note: Why no number of examples would do.
    """

    id: int
    probability: float | None
    within: tuple[Part, ...]
    limits: tuple[Part, ...]
    best: float | None
    examples: int
    examples_needed: int | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Return it as ``results.json`` has it."""
        return {
            "id": self.id,
            "probability": self.probability,
            "best_probability": self.best,
            "within": [
                {"metric": p.what, "probability": p.probability, "reason": p.reason}
                for p in self.within
            ],
            "limits": [
                {"constraint": p.what, "probability": p.probability, "reason": p.reason}
                for p in self.limits
            ],
            "examples": self.examples,
            "examples_needed": self.examples_needed,
            "note": self.note,
        }


@dataclass
class _Question:
    """What is asked, and of whom."""

    pick: int
    ids: list[int]
    filters: list[Objective]
    order: list[Objective]
    limits: list[Limit]
    baseline: int | None
    errors: dict[str, Errors]
    rounds: Mapping[str, PairedDraws]
    settled: Mapping[str, bool] = field(default_factory=dict)
    """Limits that the rounds of the re-measurement decide for the pick."""

    def unknown(self, metric: str) -> str | None:
        """Return why the pick's error on a metric is unknown."""
        e = self.errors[metric]
        if self.pick in e.unknown:
            return f"{metric} has no interval"
        if 0 < e.examples < MIN_COUNT:
            return f"{metric} was measured on {e.examples} examples only"
        return None


def confidence(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    baseline: TrialResult | None,
    prefer: str | None = None,
    *,
    find_examples: bool = True,
) -> PickConfidence | None:
    """Return how sure the pick is; None if there is none.

    Args:
        outcomes: All of a study's, with raw samples.
        summary: Derived from them.
        objectives: In order of importance.
        baseline: The one that limits are relative to.
        prefer: Metric that the pick was chosen by first.
        find_examples: Whether to search for the number of examples that would settle it.
    """
    if summary.best is None:
        return None
    question = _question(outcomes, summary, objectives, baseline, prefer)
    answer = _Answer(question, _DRAWS)
    within, limits, whole, best = answer.parts()
    asked = [o.metric for o in question.filters] + [x.metric for x in question.limits]
    examples = max((question.errors[metric].examples for metric in asked), default=0)
    needed, note = None, None
    if find_examples and whole is not None and whole < SETTLED:
        needed, note = _needed(question, examples)
    return PickConfidence(summary.best, whole, within, limits, best, examples, needed, note)


def _question(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    baseline: TrialResult | None,
    prefer: str | None,
) -> _Question:
    assert summary.best is not None
    order = in_order(objectives, prefer)
    filters = order[:-1] or order
    ok = [o for o in outcomes if o.kind is OutcomeKind.OK]
    pick = next(o for o in ok if o.id == summary.best)
    possible = contenders(ok, pick, filters[0], baseline)
    asked = [o.metric for o in filters] + [x.metric for x in summary.limits]
    metrics = dict.fromkeys([*asked, *(o.metric for o in order)])
    errors = {metric: errors_of(possible, metric) for metric in metrics}
    ids = [o.id for o in possible]
    measured = {o.id: o.measurements or {} for o in possible}
    return _Question(
        pick.id,
        ids,
        filters,
        order,
        list(summary.limits),
        None if baseline is None else baseline.id,
        errors,
        {o.metric: PairedDraws(pick.id, ids, measured, o.metric) for o in order},
        dict(_settled(outcomes, summary, pick, baseline)),
    )


def _settled(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    pick: TrialResult,
    baseline: TrialResult | None,
) -> Iterator[tuple[str, bool]]:
    """Yield the limits that the re-measurement decides for the pick, as `borderline` does."""
    finalists = in_rounds(outcomes)
    if not any(o.id == pick.id for o in finalists):
        return
    alpha = limit_alpha(len(finalists), max(1, len(summary.limits)))
    reference = {} if baseline is None else baseline.measurements or {}
    for limit in summary.limits:
        met = side_of(limit, pick.measurements or {}, reference, alpha)
        if met is not None:
            yield limit.text, met


class _Answer:
    """Draws of everything, and what they say.

    Args:
        question: What is asked.
        draws: How many draws.
        share: n over N, for N examples instead of the n that there are.
    """

    def __init__(self, question: _Question, draws: int, share: float = 1.0) -> None:
        import numpy as np

        self._q = question
        self._rows = draws
        most = max((len(e.values) for e in question.errors.values()), default=0)
        self._draws = {
            metric: Draws(
                errors, np.random.default_rng(7 + i).standard_normal((draws, most + 1)), i, share
            )
            for i, (metric, errors) in enumerate(question.errors.items())
        }

    def parts(self) -> tuple[tuple[Part, ...], tuple[Part, ...], float | None, float | None]:
        """Return each filter's and each limit's probability, that of all together, of the best.

        Each is the least of those under the plausible spreads of the true values.
        """
        q = self._q
        found = [self._one(world) for world in self._worlds()]
        within, limits = [], []
        judged = False
        for i, objective in enumerate(q.filters):
            why = q.unknown(objective.metric)
            judged |= why is None
            least = None if why else min(one[0][i] for one in found)
            within.append(Part(objective.metric, least, why))
        for i, limit in enumerate(q.limits):
            why = None if limit.text in q.settled else q.unknown(limit.metric)
            judged |= why is None
            least = None if why else min(one[1][i] for one in found)
            limits.append(Part(limit.text, least, why))
        whole = min(one[2] for one in found) if judged else None
        judged |= any(q.unknown(objective.metric) is None for objective in q.order)
        best = min(one[3] for one in found) if judged else None
        return tuple(within), tuple(limits), whole, best

    def whole(self) -> float:
        """Return the probability of all together."""
        return min(self._one(world)[2] for world in self._worlds())

    def _worlds(self) -> Iterator[dict[str, Array]]:
        """Yield draws of every metric: plain ones, then each metric's under each spread."""
        plain = {metric: self._by_id(metric, d.plain()) for metric, d in self._draws.items()}
        yield plain
        for metric, draws in self._draws.items():
            column = self._q.errors[metric].column
            among = sorted({column[id] for id in self._q.ids if id in column})
            for shrunk in draws.shrunk(among):
                yield {**plain, metric: self._by_id(metric, shrunk)}

    def _by_id(self, metric: str, drawn: Array) -> Array:
        """Return a column for each candidate in question; NaN where it has no value."""
        import numpy as np

        column = self._q.errors[metric].column
        made = np.full((self._rows, len(self._q.ids)), np.nan)
        for j, id in enumerate(self._q.ids):
            if id in column:
                made[:, j] = drawn[:, column[id]]
        return made

    def _one(self, world: Mapping[str, Array]) -> tuple[list[float], list[float], float, float]:
        import numpy as np

        q = self._q
        mine = q.ids.index(q.pick)
        left = np.ones((self._rows, len(q.ids)), dtype=bool)
        everything = np.ones(self._rows, dtype=bool)
        by_limit = []
        for limit in q.limits:
            holds = self._holds(limit, world)
            left &= holds
            own = holds[:, mine]
            if limit.text in q.settled:
                own = np.full(self._rows, q.settled[limit.text])
            elif q.unknown(limit.metric) is not None:
                own = np.ones(self._rows, dtype=bool)
            by_limit.append(float(own.mean()))
            everything &= own
        by_filter, whole = self._in_order(q.filters, world, left, everything)
        together = {o.metric: q.rounds[o.metric].applied(world[o.metric]) for o in q.order}
        _, best = self._in_order(q.order, together, left, everything)
        return by_filter, by_limit, whole, best

    def _in_order(
        self, objectives: Sequence[Objective], world: Mapping[str, Array], left: Mask, holds: Mask
    ) -> tuple[list[float], float]:
        """Return how often the pick is within each objective's tolerance, and within all.

        Args:
            objectives: In the order in which they filter.
            world: Draws by metric.
            left: Who meets the limits.
            holds: Where the pick does.
        """
        q = self._q
        mine, left, holds = q.ids.index(q.pick), left.copy(), holds.copy()
        shares = []
        for objective in objectives:
            left[:, mine] = True
            inside = self._inside(objective, world[objective.metric], left)
            if q.unknown(objective.metric) is not None:
                inside[:, mine] = True
            shares.append(float(inside[:, mine].mean()))
            holds &= inside[:, mine]
            left &= inside
        return shares, float(holds.mean())

    def _holds(self, limit: Limit, world: Mapping[str, Array]) -> Mask:
        import numpy as np

        values = world[limit.metric]
        bound: Any = limit.value
        if limit.relative is not None and self._q.baseline in self._q.ids:
            base = values[:, [self._q.ids.index(self._q.baseline)]]
            sign, amount = limit.relative
            bound = {"+": base + amount, "-": base - amount, "*": base * amount}[sign]
        compare = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}[
            limit.op
        ]
        # The baseline itself differs from its own value by rounding only.
        slack = 1e-12 * np.maximum(1.0, np.abs(bound))
        slack = slack if limit.op in ("<=", ">=") else 0.0
        made: Mask = compare(values, bound + slack if limit.op[0] == "<" else bound - slack)
        return made

    def _inside(self, objective: Objective, values: Array, left: Mask) -> Mask:
        """Return who is within the tolerance of the best of those left."""
        import numpy as np

        signed = values if objective.direction == "minimize" else -values
        there = left & ~np.isnan(signed)
        best = np.where(there, signed, np.inf).min(axis=1, keepdims=True)
        reach = objective.within.amount * (np.abs(best) if objective.within.relative else 1.0)
        made: Mask = there & (signed - best <= reach + 1e-9 * np.abs(best))
        return made


def _needed(question: _Question, examples: int) -> tuple[int | None, str | None]:
    """Return how many examples in all would settle it, or why none would."""
    doubtful = "what is doubtful does not depend on the number of examples"
    if not examples:
        return None, doubtful
    if _Answer(question, 1000, 1 / _MAX_TIMES).whole() < SETTLED:
        elsewhere = _Answer(question, 1000, 0.0).whole() < SETTLED
        return None, doubtful if elsewhere else (
            "by the measured values it is too near to the edge even with "
            f"{_MAX_TIMES:g} times as many examples"
        )
    low, high = 1.0, 2.0
    while _Answer(question, 1000, 1 / high).whole() < SETTLED:
        low, high = high, 2 * high
    for _ in range(4):
        middle = math.sqrt(low * high)
        if _Answer(question, 1000, 1 / middle).whole() < SETTLED:
            low = middle
        else:
            high = middle
    return math.ceil(high * examples), None
