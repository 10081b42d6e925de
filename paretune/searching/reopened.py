"""Which candidates of a study are tried again when its search continues."""

from __future__ import annotations

from paretune.core.result import OutcomeKind, TrialResult
from paretune.preflight.prepared import PreparedSearch
from paretune.search.evidence import rough_slack
from paretune.search.outcomes import of_candidate
from paretune.search.outgrown import has_outgrown
from paretune.search.reconsider import to_reconsider
from paretune.search.summary import StudySummary
from paretune.study.folder import Study


def reopened(prepared: PreparedSearch, study: Study, summary: StudySummary) -> list[TrialResult]:
    """Return results that no longer hold, such as transient failures, by number.

    They stay on record until their candidates were tried again. A partial measurement that would
    count as a complete one is dropped at once.

    Args:
        prepared: The plan of today.
        study: What was found so far.
        summary: Where the study stands under today's limits.
    """
    plan = prepared.plan.search
    if plan.time_s is not None and study.spent() >= plan.time_s:
        return study.unfinished()
    if plan.trials is not None and study.trials() >= plan.trials:
        return study.unfinished()
    base = of_candidate(study.outcomes, prepared.baseline.digest)
    found = to_reconsider(
        study.outcomes,
        summary,
        prepared.plan.objectives,
        prepared.specs,
        base.measurements if base is not None and base.kind is OutcomeKind.OK else None,
        rough_slack(prepared.noise_floor),
        {m.name: slot.rungs[-1] for slot in prepared.evaluators for m in slot.metrics},
        slots=prepared.evaluators,
    )
    found += [outcome for outcome in study.outcomes if _is_due(outcome, prepared, study)]
    for outcome in found:
        if outcome.kind is OutcomeKind.OK:
            study.forget(outcome)
    kept = [outcome for outcome in found if outcome.kind is not OutcomeKind.OK]
    return sorted([*kept, *study.unfinished()], key=lambda outcome: outcome.id)


def _is_due(outcome: TrialResult, prepared: PreparedSearch, study: Study) -> bool:
    """Return whether an outcome had a cause that is not there any more, or may not be."""
    plan = prepared.plan.search
    today = {"seconds": plan.job_time_s, "memory": prepared.memory_of_a_job}
    return (
        outcome.transient
        or (outcome.stopped_by_parent and not plan.parent_quality)
        or (outcome.not_promoted and outcome.id not in study.paused)
        or has_outgrown(outcome, today, given=prepared.job_memory is not None)
        or (outcome.kind is OutcomeKind.SKIPPED and prepared.look(outcome.candidate).reason is None)
    )
