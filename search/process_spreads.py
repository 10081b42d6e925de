"""What processes usually differ by in a study, as the search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.outcomes import finished
from paretune.stats.pooling import pool, spreads_of
from paretune.stats.process_spread import Spread

MAX_RESULTS = 40
"""Candidates that it is learnt from: those of the same hour, and no more with a longer study."""
_FEW = 20
"""An interval that drew on fewer is computed again at the end."""


def usual(outcomes: Sequence[TrialResult]) -> dict[str, Spread]:
    """Return what is usual among the latest candidates, by metric."""
    latest = finished(outcomes)[-MAX_RESULTS:]
    return spreads_of([outcome.measurements or {} for outcome in reversed(latest)])


def refreshed(outcomes: Sequence[TrialResult], floor: float | None) -> list[TrialResult]:
    """Return the first candidates with intervals that draw on those that came after them.

    Args:
        outcomes: Of the study, in order.
        floor: The device's noise floor, as a share.
    """
    whole = finished(outcomes)[:MAX_RESULTS]
    spreads = usual(whole)
    found = []
    for outcome in whole:
        measured = outcome.measurements or {}
        some = {
            name: m
            for name, m in measured.items()
            if name in spreads
            and not m.taken_over
            and _drawn_from(m) < min(_FEW, spreads[name].candidates - 1)
        }
        if some:  # with all that its processes measured: a tail's samples are its median's
            own = {n: m for n, m in measured.items() if not m.taken_over}
            timed = {n: m for n, m in own.items() if n in spreads or m.details.processes}
            again = {**measured, **pool([timed], floor, spreads=spreads)}
            found.append(replace(outcome, measurements=again))
    return found


def _drawn_from(measured: Measurement) -> int:
    """Return the number of candidates whose spread the interval draws on."""
    return 0 if measured.details.spread is None else measured.details.spread.candidates
