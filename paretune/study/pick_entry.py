"""The entry ``pick`` of ``results.json``: how sure the pick is, what being chosen added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.confirm.confidence import confidence
from paretune.search.confirm.selection_bias import selection_bias
from paretune.search.constraints import Objective
from paretune.search.summary import StudySummary
from paretune.study.measurement_notes import measurement_entry
from paretune.study.results import Choice, Results
from paretune.study.results_certainty import PickEntry


def pick_entry(
    outcomes: Sequence[TrialResult],
    summary: StudySummary,
    objectives: Sequence[Objective],
    baseline: TrialResult | None,
    prefer: str | None = None,
    confirmed: Mapping[str, Measurement] | None = None,
) -> dict[str, Json] | None:
    """Return how sure the pick is; None if there is none.

    Args:
        outcomes: All of a study's, with raw samples.
        summary: Derived from them.
        objectives: In order of importance.
        baseline: The one that limits are relative to.
        prefer: Metric that the pick was chosen by first.
        confirmed: What the pick yields on the held-out data, if it was measured.
    """
    told = confidence(outcomes, summary, objectives, baseline, prefer)
    if told is None:
        return None
    bias = selection_bias(outcomes, summary, objectives, summary.limits, baseline, prefer)
    return {
        **told.to_json(),
        "selection_bias": None if bias is None else bias.to_json(),
        "confirmed": None
        if confirmed is None
        else {
            name: {**measurement_entry(m), "data": m.details.data} for name, m in confirmed.items()
        },
    }


def sentences(choice: Results | Choice) -> list[str]:
    """Return sentences on how probable the pick's advantages are.

    Args:
        choice: The results document, or the part of what `paretune pick` returns.
    """
    entry = choice.pick
    if entry is None:
        return []
    told = _chances(entry, {o.metric: _shown(o.within) for o in choice.objectives})
    if entry.best_probability is not None:
        told.append(
            f"The probability that it is the best feasible candidate, by all objectives within "
            f"their tolerances, is {_chance(entry.best_probability)}."
        )
    if entry.examples_needed is not None:
        told.append(
            f"If the measured values are right, about {entry.examples_needed:,} examples "
            f"instead of {entry.examples:,} would settle it."
        )
    elif entry.note:
        told.append(f"More examples would not settle it: {entry.note}.")
    return told + _selection(entry)


def _chances(entry: PickEntry, tolerance: Mapping[str, str]) -> list[str]:
    told = []
    within = [
        f"{_chance(p.probability)} that its {p.metric} truly is within "
        f"{tolerance[p.metric]} of the best's"
        for p in entry.within
        if p.probability is not None
    ]
    limits = [
        f"{_chance(p.probability)} that it meets {p.constraint}"
        for p in entry.limits
        if p.probability is not None
    ]
    if entry.probability is not None and (within or limits):
        whole = f"; {_chance(entry.probability)} for all together" * (len(within + limits) > 1)
        told.append(f"The probability is {', '.join(within + limits)}{whole}.")
    unknown = [f"{p.metric} ({p.reason})" for p in entry.within if p.probability is None]
    unknown += [f"{p.constraint} ({p.reason})" for p in entry.limits if p.probability is None]
    if unknown:
        told.append(f"How sure it is of these is not known: {', '.join(unknown)}.")
    return told


def _selection(entry: PickEntry) -> list[str]:
    bias, confirmed = entry.selection_bias, entry.confirmed or {}
    told = []
    for name, m in confirmed.items():
        if m.value is None:
            continue
        interval = "" if m.low is None else f" ({m.low:.4g} to {m.high:.4g})"
        chosen = bias is not None and bias.metric == name
        told.append(
            f"On the {m.n} examples of {m.data}, which no choice has seen, its {name} is "
            f"{m.value:.4g}{interval}"
            + (f"; on those that it was chosen by, {bias.raw:.4g}." if bias and chosen else ".")
        )
    if bias is not None and bias.metric not in confirmed:
        told.append(
            f"Its {bias.metric} is {bias.raw:.4g} as measured, and {bias.corrected:.4g} "
            f"without what being chosen for it adds ({bias.bias:+.2g}, by a bootstrap of the "
            "whole selection); `split: {confirm: ...}` measures it on data that no choice has seen."
        )
    return told


def _chance(probability: float) -> str:
    """Return a probability in per cent, without claiming more than draws can tell."""
    if probability > 0.995:
        return "over 99 %"
    return "under 1 %" if probability < 0.005 else f"{100 * probability:.0f} %"


def _shown(tolerance: float | str) -> str:
    return tolerance if isinstance(tolerance, str) else f"{tolerance:g}"
