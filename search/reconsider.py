"""Which candidates must be tried again under today's constraints and objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.evidence import ROUGH_SLACK, as_recorded, relied_on
from paretune.search.jobs import EvaluatorSlot
from paretune.search.parent_stops import Gains, ParentTest
from paretune.search.possible_dominators import PossibleDominators
from paretune.search.pruning import broken_limit, dominated
from paretune.search.summary import StudySummary
from paretune.stats.finite_population import final_bounds


def to_reconsider(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    specs: Iterable[MetricSpec],
    reference: Mapping[str, Measurement] | None = None,
    slack: float = ROUGH_SLACK,
    last: Mapping[str, Rung] | None = None,
    slots: Sequence[EvaluatorSlot] = (),
) -> list[TrialResult]:
    """Return the outcomes whose early stop no longer holds.

    The same tests that stopped them are made again on what was measured then. Results
    are returned, too, whose constraints were met after some of the examples, if now all are needed.

    Args:
        outcomes: Of the study so far.
        summary: Of the study, under today's constraints and objectives.
        objectives: Today's.
        specs: Of every metric.
        reference: The baseline's measurements.
        slack: Share by which one process's speed may be off here.
        last: The last rung of each metric's evaluator; by default the full one.
        slots: The evaluators: what one of them measured in one of its processes is not its last
            word, whatever rung the candidate came to.
    """
    by_name = {spec.name: spec for spec in specs}
    base = reference or {}
    possible = PossibleDominators(objectives, by_name.values()).among(
        {o.id: o for o in outcomes if o.id in summary.feasible}, reference
    )
    by_parent = ParentTest(summary.limits, objectives, by_name, possible, Gains(outcomes))
    found = []
    for outcome in outcomes:
        if outcome.kind is OutcomeKind.OK and _needs_all(outcome, base, summary, objectives):
            found.append(outcome)
        if outcome.kind not in (OutcomeKind.INFEASIBLE, OutcomeKind.PRUNED):
            continue
        if outcome.not_promoted:  # the decision of the strategy, not of a test
            continue
        if outcome.stopped_by_parent and outcome.parent is not None:
            if by_parent.stop(outcome.parent, outcome.candidate) is None:
                found.append(outcome)
            continue
        measured = as_recorded(outcome.measurements or {}, outcome.rung or Rung.SMOKE, last or {})
        unfinished = {
            spec.name
            for slot in slots
            if not _ran_whole(slot, outcome, slots)
            for spec in slot.metrics
        }
        measured |= {
            name: measured[name].noting(early=True) for name in unfinished & measured.keys()
        }
        relied = {
            name: relied_on(m, by_name.get(name), slack, base.get(name))
            for name, m in measured.items()
        }
        if broken_limit(relied, summary.limits) is not None:
            continue
        known = all(o.metric in relied for o in objectives)
        if known and dominated(relied, possible, objectives) is not None:
            continue
        found.append(outcome)
    return found


def _ran_whole(slot: EvaluatorSlot, outcome: TrialResult, slots: Sequence[EvaluatorSlot]) -> bool:
    """Return whether an evaluator measured a candidate in all the processes of its last rung."""
    alike = sum(other.name == slot.name for other in slots)
    last = f"{slot.name}:{slot.rungs[-1].value}"
    return sum(step.step == last for step in outcome.seconds) >= slot.processes * alike


def partly_measured(outcome: TrialResult, reference: Mapping[str, Measurement]) -> list[str]:
    """Return the shares that a candidate measured on fewer examples than the baseline."""
    return [
        name
        for name, m in (outcome.measurements or {}).items()
        if name in reference
        and m.details.rows is not None
        and len(m.details.rows) < len(reference[name].details.rows or ())
    ]


def _needs_all(
    outcome: TrialResult,
    reference: Mapping[str, Measurement],
    summary: StudySummary,
    objectives: Sequence[Objective],
) -> bool:
    partly = partly_measured(outcome, reference)
    if any(objective.metric in partly for objective in objectives):
        return True
    measured = outcome.measurements or {}
    for limit in summary.limits:
        if limit.metric not in partly:
            continue
        bounds = final_bounds(measured[limit.metric], reference[limit.metric])
        if bounds is None or not all(map(limit.holds, bounds)):
            return True
    return False
