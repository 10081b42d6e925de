"""How good a search's forecasts were, and what choosing candidates cost, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.reporting.answer import number
from paretune.stats.coverage import chance_of_so_few
from paretune.study.results import Results
from paretune.study.results_forecasts import QualityEntry, SearchSecondsEntry

ENOUGH = 5
"""Forecasts below which their quality is not judged."""
SECONDS = "the trial's seconds"
_CERTAIN = 0.05
_BETTER, _WORSE = 0.8, 1.1
_FAR = 0.25
"""A larger relative error is not good, even if the forecasts without a model are farther off."""
_GOOD, _TOO_FEW = "good", "too few to judge"
_TRIVIAL = "the mean of the earlier values or the last one"


def qualities(results: Results) -> list[tuple[str, QualityEntry]]:
    """Return the quality of each quantity that was forecast: metrics first, then the seconds."""
    found = results.forecasts
    if found is None:
        return []
    seconds = [] if found.seconds is None else [(SECONDS, found.seconds)]
    return [*found.metrics.items(), *seconds]


def verdict(quality: QualityEntry) -> str:
    """Return in a few words how good forecasts were: intervals first, then the errors."""
    n, inside = quality.intervals, quality.inside
    if len(quality.candidates) < ENOUGH:
        return _TOO_FEW
    faults = []
    if n and chance_of_so_few(inside, n) < _CERTAIN:
        faults.append(f"intervals too narrow ({inside} of {n} values inside)")
    trivial = [e for e in (quality.mean_error, quality.last_error) if e is not None]
    if quality.error is not None and trivial and quality.error > _BETTER * min(trivial):
        worse = quality.error > _WORSE * min(trivial)
        faults.append(f"{'worse' if worse else 'no better'} than {_TRIVIAL}")
    elif quality.error is not None and quality.relative and quality.error > _FAR:
        faults.append(f"half of them off by more than {error_text(quality.error, relative=True)}")
    return " and ".join(faults) or _GOOD


def forecast_sentence(results: Results) -> str | None:
    """Return one sentence on how good the forecasts were; None: there were none."""
    found = qualities(results)
    if not found:
        return None
    by_verdict: dict[str, list[str]] = {}
    for name, quality in found:
        by_verdict.setdefault(verdict(quality), []).append(name)
    good, few = by_verdict.pop(_GOOD, []), by_verdict.pop(_TOO_FEW, [])
    told = [
        (good, "were good"),
        *((names, f"were bad: {why}") for why, names in by_verdict.items()),
        (few, f"are {_TOO_FEW}"),
    ]
    parts = [f"of {_listed(names)} {what}" for names, what in told if names]
    return "The forecasts " + "; those ".join(parts) + "."


def asking_sentence(asked: SearchSecondsEntry | None) -> str | None:
    """Return what choosing candidates cost; None: it is not known."""
    if asked is None:
        return None
    share = ""
    if asked.share is not None:
        share = (
            f", {100 * asked.share:.2g} % of the median trial's {number(asked.median_trial_s)} s"
        )
    return (
        f"Choosing the next candidate took {number(asked.median_s)} s (median{share}), "
        f"at most {number(asked.most_s)} s, and {number(asked.total_s)} s in all."
    )


def error_text(error: float | None, *, relative: bool) -> str:
    """Return an error: as a percentage where it is relative."""
    if error is None:
        return number(None)
    if not relative:
        return f"{error:.2g}"
    return f"{100 * error:.0f} %" if error >= 0.1 else f"{100 * error:.2g} %"


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
