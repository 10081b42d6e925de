"""The answer of a search in plain sentences: which model to ship, why, and what is uncertain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paretune.core.candidate import counted, further_settings, short
from paretune.core.jsontools import Json
from paretune.stats.intervals import CONFIDENCE
from paretune.study.nothing_measured import nothing_measured
from paretune.study.pick_entry import sentences as chances
from paretune.study.repeats_entry import sentences as seed_sentences
from paretune.study.results import (
    NOT_MEASURED,
    BaselineEntry,
    CandidateEntry,
    Choice,
    DeviceCandidate,
    Results,
)
from paretune.study.results_certainty import NearLimitEntry

_MEASURED = ("ok", "infeasible", "pruned", "duplicate")
_TESTS = {"mcnemar": "McNemar", "permutation": "permutation test"}
_UNTIL_NOW = {
    "finished": " The time was used up before the first candidate was done. Run the same "
    "command with a longer --time; it continues with the existing builds.",
    "interrupted": " Run the same command again to continue.",
}
_RATIOS = (
    ("decode_ms_p50", "time per token"),
    ("ttft_ms_p50", "time to first token"),
    ("latency_ms_p50", "latency"),
    ("size_mb", "size"),
    ("peak_memory_mb", "memory"),
)


def plain_answer(results: Results, paired: Mapping[str, Json] | None = None) -> list[str]:
    """Return the answer in plain sentences, as the report begins.

    Args:
        results: The results document.
        paired: Differences of the pick from the baseline, by metric.
    """
    candidates = results.candidates
    if not candidates:
        return ["Nothing has been measured yet." + _UNTIL_NOW.get(results.status, "")]
    best = next((c for c in candidates if c.id == results.best), None)
    if best is None:
        measured = any(c.outcome in _MEASURED for c in candidates)
        return _nothing_feasible(results) if measured else nothing_measured(candidates)
    told = [
        f"Ship candidate {best.id}: {shipped(best)}.",
        _why_it(results),
        *chances(results),
        *_remarks(results),
        *doubts(results, best.id),
    ]
    told += seed_sentences(results.repeats, [o.metric for o in results.objectives])
    told += [
        _near(results, near, best)
        for near in results.near_limits
        if near.id == best.id and not near.met
    ]
    if results.baseline is not None and results.baseline.id != best.id:
        told += _against(best, results.baseline, paired or {})
    return told


def shipped(candidate: CandidateEntry | DeviceCandidate) -> str:
    """Return a candidate's passes, and the settings that it runs with."""
    runtime = candidate.runtime
    threads = counted(runtime.threads, "thread")
    settings = f"{runtime.provider} with {threads}{further_settings(runtime.settings)}"
    return f"{described(candidate)}, on {settings}"


def described(candidate: CandidateEntry | DeviceCandidate) -> str:
    """Return a candidate's passes with their parameters."""
    steps = [step.name + _params(step.params) for step in candidate.recipe]
    return " › ".join(steps or ["unchanged"])


def _params(params: Mapping[str, Json]) -> str:
    shown = ", ".join(f"{k}={short(v)}" for k, v in params.items() if k != "train")
    return f" ({shown})" if shown else ""


def doubts(choice: Results | Choice, best: int) -> list[str]:
    """Return sentences on members of the front that may not be better than others."""
    told = []
    for group in choice.groups:
        others = [str(id) for id in group.members if id != group.pick]
        if group.pick == best:
            told.append(
                f"The measurements cannot distinguish it from candidate{'s' * (len(others) > 1)} "
                f"{', '.join(others)}; it was chosen because it {group.reason}."
            )
    unsure = [m for m in choice.membership if not m.sure]
    own = next((m for m in unsure if m.id == best), None)
    if own is not None and not told:
        told.append(
            f"With longer measurements, candidate {_either(own.rivals)} may be the better "
            "choice: their difference is smaller than the measurement uncertainty."
        )
    shown = ", ".join(f"{m.id} (by {_either(m.rivals)})" for m in unsure if m.id != best)
    if shown:
        told.append(
            f"With longer measurements, some candidates of the front may be dominated: {shown}."
        )
    return told


def number(value: float | None) -> str:
    """Return a number with four digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def _nothing_feasible(results: Results) -> list[str]:
    feasible = [c for c in results.candidates if c.feasible]
    told = ["No candidate meets every constraint."]
    if feasible:
        told = [
            f"None of {counted(len(feasible), 'feasible candidate')} can be chosen: none has a "
            "measured value of every objective."
        ]
    miss = results.nearest_miss
    if miss is not None:
        told.append(
            f"The nearest miss is candidate {miss.id}: the limit of {miss.constraint} is "
            f"{number(miss.limit)}, its value is {number(miss.value)}."
        )
    told += _without_objectives(results, feasible)
    told += _without_values(results) + _remarks(results)
    near = results.near_limits
    hopeful = {n.id for n in near} - {n.id for n in near if n.met is False}
    if hopeful:
        told.append(
            f"With longer measurements, candidate {_either(sorted(hopeful))} may meet every "
            "constraint: it misses by less than the measurement uncertainty."
        )
    return told


def _without_objectives(results: Results, feasible: Sequence[CandidateEntry]) -> list[str]:
    """Return sentences on objectives that feasible candidates have no value for."""
    told = []
    for metric in (objective.metric for objective in results.objectives):
        lack = [c for c in feasible if c.value(metric) is None]
        if lack:
            told.append(
                f"{len(lack)} of them {'has' if len(lack) == 1 else 'have'} no value of {metric} "
                f"({_why_not(lack, metric)})."
            )
    return told


def _why_not(lack: Sequence[CandidateEntry], metric: str) -> str:
    """Return why candidates have no value of a metric: the first reason that was given."""
    reasons = (c.why_not(metric) for c in lack)
    return next((reason for reason in reasons if reason != NOT_MEASURED), NOT_MEASURED)


def _without_values(results: Results) -> list[str]:
    """Return sentences on limits that completely measured candidates have no value for."""
    whole = [c for c in results.candidates if c.outcome == "ok"]
    told = []
    for limit in results.constraints:
        lack = [c for c in whole if c.value(limit.metric) is None]
        if limit.value is None:
            told.append(f"No candidate can meet {limit.text}: the baseline has no {limit.metric}.")
        elif lack:
            told.append(
                f"{len(lack)} of {counted(len(whole), 'measured candidate')} cannot meet "
                f"{limit.text}, because they have no value of {limit.metric} "
                f"({_why_not(lack, limit.metric)})."
            )
    return told


def _remarks(results: Results) -> list[str]:
    """Return notes on limits in force."""
    return [f"Note that {limit.remark}." for limit in results.constraints if limit.remark]


def _why_it(results: Results) -> str:
    """Return the rule by which the pick was chosen from the front."""
    front = len(results.pareto)
    if front == 1:
        return (
            "It is the only candidate of the Pareto front: no other feasible candidate has a "
            "better value in any objective."
        )
    *before, last = sorted(results.objectives, key=lambda o: o.metric != results.prefer)
    filters = ", then those whose ".join(
        f"{o.metric} is within {o.within} of the best value" for o in before
    )
    least = "lowest" if last.direction == "minimize" else "highest"
    of = f"Of those whose {filters}, it" if before else "It"
    return (
        f"{front} candidates meet every constraint and are not dominated by another (the "
        f"Pareto front). {of} has the {least} {last.metric}."
    )


def _near(results: Results, near: NearLimitEntry, best: CandidateEntry) -> str:
    """Return a sentence on a limit that the pick may miss."""
    limit = next(x for x in results.constraints if x.text == near.constraint)
    m = best.metrics[limit.metric]
    doubt = "may miss it" if near.met is None else "missed it when it was measured again"
    return (
        f"It meets {limit.text} by the measured value, but {doubt}: {number(m.value)} "
        f"(95 % interval {number(m.low)} to {number(m.high)}), the limit is {number(limit.value)}."
    )


def _either(ids: Sequence[int]) -> str:
    """Return numbers as in ``2, 5 or 7``."""
    *front, last = map(str, ids) if ids else ["another"]
    return f"{', '.join(front)} or {last}" if front else last


def _against(best: CandidateEntry, base: BaselineEntry, paired: Mapping[str, Json]) -> list[str]:
    told = [_difference(metric, d) for metric, d in paired.items()]
    ratios = [
        f"{a / b:.2f} × the {word}"
        for metric, word in _RATIOS
        if (a := best.value(metric)) and (b := base.value(metric))
    ]
    if ratios:
        told.append(f"Compared with the baseline it has {', '.join(ratios)}.")
    return told


def _difference(metric: str, d: Mapping[str, Json]) -> str:
    p = d.get("p")  # reports of older versions have none
    known = not d["low"] <= 0 <= d["high"] if p is None else p <= 1 - CONFIDENCE
    test = _TESTS[d.get("test", "mcnemar")]
    verdict = "is not significantly different from"
    if known:
        verdict = f"is significantly {'higher' if d['difference'] > 0 else 'lower'} than"
    return (
        f"Its {metric} {verdict} the baseline's: difference "
        f"{d['difference']:+.3f} (95 % interval {d['low']:+.3f} to {d['high']:+.3f}, paired "
        f"over {d['n']} examples{'' if p is None else f'; {test} p = {p:.2g}'})."
    )
