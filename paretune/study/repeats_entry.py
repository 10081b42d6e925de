"""The entry ``repeats`` of ``results.json``: what the pick's recipe yields with other seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from paretune.config.training_seeds import seeds, training_of
from paretune.core.jsontools import Json
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Constraint, Objective
from paretune.search.outcomes import with_id
from paretune.search.summary import StudySummary, summarize
from paretune.study.measurement_notes import measurement_entry
from paretune.study.results_repeats import RepeatsEntry


@dataclass(frozen=True)
class MadeRepeats:
    """The repeats of a study's pick.

    Attributes:
        asked: How many were asked for.
        runs: What became of each.
        reason: Why there are fewer than asked for.
    """

    asked: int
    runs: Sequence[TrialResult] = ()
    reason: str | None = None


def repeats_entry(
    made: MadeRepeats,
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    baseline: TrialResult | None,
    prefer: str | None = None,
) -> dict[str, Json] | None:
    """Return what the repeats say of the pick; None if there is no pick, or nothing was asked for.

    Args:
        made: The repeats.
        outcomes: All of the study.
        summary: Derived from them.
        objectives: In order of importance.
        constraints: As configured.
        baseline: The one that limits are relative to.
        prefer: Metric that the pick was chosen by first.
    """
    pick = with_id(outcomes, summary.best)
    if pick is None or not (made.asked or made.runs):
        return None
    training = training_of(pick.candidate)
    others = [o for o in outcomes if o is baseline or training_of(o.candidate) != training]

    def chosen(candidates: Sequence[TrialResult]) -> int | None:
        return summarize(candidates, objectives, constraints, baseline, prefer).best

    runs = [
        {
            "seeds": list(seeds(run.candidate)),
            "outcome": run.kind.value,
            "reason": run.reason,
            "artifact": run.artifact,
            "metrics": {k: measurement_entry(m) for k, m in (run.measurements or {}).items()},
            "seconds": round(run.spent_s, 4),
            "best": chosen([*others, _in_place_of(pick, run)])
            if run.kind is OutcomeKind.OK
            else None,
        }
        for run in made.runs
    ]
    following = with_id(others, chosen(others))
    spread = _spread(pick, made.runs)
    return {
        "id": pick.id,
        "asked": made.asked,
        "seeds": list(seeds(pick.candidate)),
        "runs": runs,
        "spread": spread,
        "next": None if following is None else following.id,
        "within_noise": _within_noise(pick, following, objectives, spread),
        "reason": made.reason if len(made.runs) < made.asked else None,
    }


def _in_place_of(pick: TrialResult, run: TrialResult) -> TrialResult:
    """Return the pick with the values that a repeat measured itself."""
    measured = {n: m for n, m in (run.measurements or {}).items() if _own(run, n)}
    return replace(pick, measurements={**(pick.measurements or {}), **measured})


def _own(run: TrialResult, metric: str) -> bool:
    m = (run.measurements or {}).get(metric)
    return m is not None and m.value is not None and not m.taken_over


def _spread(pick: TrialResult, runs: Sequence[TrialResult]) -> dict[str, Json]:
    """Return how far values are apart, by metric that both the pick and repeats measured."""
    found: dict[str, Json] = {}
    for metric in pick.measurements or {}:
        own = pick.value(metric)
        values = [r.value(metric) for r in runs if r.kind is OutcomeKind.OK and _own(r, metric)]
        others = [value for value in values if value is not None]
        if own is not None and others:
            found[metric] = {
                "n": 1 + len(others),
                "lowest": min(own, *others),
                "highest": max(own, *others),
                "mean": statistics.fmean(others),
            }
    return found


def _within_noise(
    pick: TrialResult,
    following: TrialResult | None,
    objectives: Sequence[Objective],
    spread: Mapping[str, Json],
) -> list[str]:
    """Return the objectives in which other seeds change more than the next candidate differs by."""
    found = []
    for metric in (o.metric for o in objectives if o.metric in spread):
        own, other = pick.value(metric), None if following is None else following.value(metric)
        apart = spread[metric]["highest"] - spread[metric]["lowest"]
        if own is not None and other is not None and apart > abs(own - other):
            found.append(metric)
    return found


def sentences(entry: RepeatsEntry | None, objectives: Sequence[str]) -> list[str]:
    """Return sentences on what the pick's recipe yields with other training seeds.

    Args:
        entry: What was found; None: nothing was repeated.
        objectives: The metrics to report; if the repeats have none of them, all that they have.
    """
    if entry is None:
        return []
    told = []
    for metric in [m for m in objectives if m in entry.spread] or list(entry.spread):
        told.append(_values(entry, metric))
        if metric in entry.within_noise:
            told.append(
                f"Warning: this range is larger than its distance in {metric} from candidate "
                f"{entry.next}, which would be chosen without this training: in {metric} the "
                "choice between the two is within the noise of training."
            )
    changed = [run for run in entry.runs if run.outcome is OutcomeKind.OK and run.best != entry.id]
    for run in changed:
        instead = "no candidate" if run.best is None else f"candidate {run.best}"
        told.append(f"With the values of {seed_words(run.seeds)}, {instead} would be chosen.")
    told += [
        f"With {seed_words(run.seeds)} the recipe ended as {run.outcome}: {run.reason}."
        for run in entry.runs
        if run.outcome is not OutcomeKind.OK
    ]
    if entry.reason is not None:
        told.append(f"{entry.reason[:1].upper()}{entry.reason[1:]}.")
    return told


def seed_words(found: Sequence[int]) -> str:
    """Return the seeds of a recipe's trainings as text."""
    return f"training seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def _values(entry: RepeatsEntry, metric: str) -> str:
    spread = entry.spread[metric]
    own = [run.metrics[metric].value for run in entry.runs if metric in run.metrics]
    values = [value for value in own if value is not None]
    return (
        f"Trained again with {len(values)} other seed{'s' * (len(values) > 1)}, its {metric} is "
        f"{', '.join(f'{value:.4g}' for value in values)} (mean {spread.mean:.4g}); with the "
        f"pick's own, the values lie between {spread.lowest:.4g} and {spread.highest:.4g}."
    )
