"""Candidates that a value of another one would bring forward measure it themselves.

A candidate may have taken speeds over from another one of the same structure
(`search/sharing.py`). Such values decide nothing: a candidate that would be on the front by them,
or may be the pick, or took them from one that is not on record any more, is measured here. This
is done at the end, before finalists are compared; if none are compared, as soon as a trial ended.
Each candidate is durable before the next one begins. Where the time does not suffice, it stays as
it is, and the results say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult, uncached_seconds
from paretune.search.confirm.closeness import overlap
from paretune.search.outcomes import version, with_id
from paretune.search.run import OutOfTimeError, SearchRun
from paretune.search.sharing import Sharing
from paretune.search.summary import rests_on_others
from paretune.search.trial import TrialRunner
from paretune.search.trial_state import Trial

_MAX_NEAR = 6
"""Candidates that may be the pick, and are measured for that alone."""


class OwnMeasurements:
    """Measures what was taken over and would count.

    Args:
        search: The search.
    """

    def __init__(self, search: SearchRun) -> None:
        self._search = search
        self._tried: set[int] = set()
        self._version: object = None

    def run(self, *, near: bool = False) -> None:
        """Measure one candidate after another, until no value that was taken over would count.

        Args:
            near: Also the pick, for metrics that decide nothing, those that may be the pick, and
                those whose source is gone.

        Raises:
            KeyboardInterrupt: As it came; what was in flight is unrecorded.
        """
        now = version(self._search.recorder.outcomes)
        if near or now != self._version:  # what is added at the end is nobody's source yet
            self._take_again()
            self._version = version(self._search.recorder.outcomes)
        while (outcome := next(self._needed(near=near), None)) is not None:
            self._tried.add(outcome.id)
            left = self._search.left()
            if left is not None and left <= self._seconds(outcome):
                continue
            begun = self._search.clock()
            self._search.watcher.note(
                f"candidate {outcome.id} measures itself what it took over from another one of "
                "the same structure, as it may be chosen"
            )
            try:
                self._measure(outcome)
            except OutOfTimeError:
                self._search.target.cancel()
                self._search.recorder.waste(self._search.clock() - begun)
                return

    def needed_s(self) -> float:
        """Return about how many seconds it takes to measure what would be on the front."""
        return sum(self._seconds(outcome) for outcome in self._unsettled())

    def _needed(self, *, near: bool) -> Iterator[TrialResult]:
        """Yield who is to be measured now, the likeliest pick first."""
        yield from (o for o in self._unsettled() if o.id not in self._tried)
        if not near:
            return
        others = [o for o in self._takers() if o.id not in self._tried]
        best = self._search.summary().best
        yield from (o for o in others if o.id == best)  # what is shipped is known by itself
        may_be_picked = [o for o in others if self._may_be_picked(o)]
        yield from may_be_picked[: max(0, _MAX_NEAR - len(self._tried))]
        there = {o.id for o in self._search.recorder.outcomes} | self._search.recorder.paused.keys()
        yield from (o for o in others if not sources_of(o) <= there)

    def _unsettled(self) -> list[TrialResult]:
        outcomes = self._search.recorder.outcomes
        found = [with_id(outcomes, id) for id in self._search.summary().unsettled]
        return [outcome for outcome in found if outcome is not None]

    def _takers(self) -> list[TrialResult]:
        return [
            o for o in self._search.recorder.outcomes if o.kind is OutcomeKind.OK and sources_of(o)
        ]

    def _may_be_picked(self, outcome: TrialResult) -> bool:
        """Return whether its intervals overlap with the pick's, within the tolerances."""
        search = self._search
        summary, wanted = search.summary(), [o.metric for o in search.objectives]
        pick = next((o for o in search.recorder.outcomes if o.id == summary.best), None)
        return (
            pick is not None
            and outcome.id in summary.feasible
            and rests_on_others(outcome, wanted)
            and overlap(outcome.measurements or {}, pick.measurements or {}, search.objectives)
        )

    def _measure(self, outcome: TrialResult) -> None:
        search, rung = self._search, outcome.rung
        assert rung is not None, "it was measured to its end"
        trial = Trial(
            outcome.id,
            outcome.candidate,
            outcome.artifact,
            {rung: outcome.measurements or {}},
            outcome.seconds,
            outcome.wall_s,
            structure=outcome.structure,
            forecast=outcome.forecast,
            asked_s=outcome.asked_s,
            parent=outcome.parent,
        )
        taken = {name for name, m in (outcome.measurements or {}).items() if m.taken_over}
        slots = [slot for slot in search.evaluators if taken & {s.name for s in slot.metrics}]
        found = TrialRunner(search, trial).measure_itself(slots)
        more = found.seconds[len(outcome.seconds) :]
        if found.transient or found.artifact != outcome.artifact:
            search.watcher.note(
                f"candidate {outcome.id} could not be measured itself: "
                f"{found.reason or 'its build is another one now'}"
            )
            search.recorder.waste(uncached_seconds(more))
            return
        found = replace(found, ended_s=outcome.ended_s)
        if outcome.wall_s is not None:
            found = replace(found, wall_s=outcome.wall_s + uncached_seconds(more))
        search.recorder.update(found)
        search.on_update(search.summary())

    def _seconds(self, outcome: TrialResult) -> float:
        """Return about how long it takes: as long as it took the candidates that measured."""
        outcomes = self._search.recorder.outcomes
        taken = {step.step for step in outcome.seconds if step.cached and ":" in step.step}
        return sum(
            step.s
            for id in sources_of(outcome)
            if (other := with_id(outcomes, id)) is not None
            for step in other.seconds
            if step.step in taken and not step.cached
        )

    def _take_again(self) -> None:
        """Take values over again whose source is gone, or has another value now."""
        search = self._search
        known: dict[int, TrialResult | Trial] = {o.id: o for o in search.recorder.outcomes}
        known |= search.recorder.paused
        for outcome in self._takers():
            found = dict(outcome.measurements or {})
            sharing = Sharing(search, outcome.id, outcome.candidate)
            for slot in search.evaluators:
                names = [s.name for s in slot.metrics if s.name in found]
                if not any(_is_stale(found[name], known) for name in names):
                    continue
                new = sharing.known(
                    slot, slot.rungs[-1], outcome.artifact, outcome.structure, found
                )
                found |= new or {}
            if found != outcome.measurements:
                search.recorder.update(replace(outcome, measurements=found))


def sources_of(outcome: TrialResult) -> set[int]:
    """Return the candidates that a candidate took values over from."""
    measured = (outcome.measurements or {}).values()
    return {m.details.taken_from for m in measured if m.details.taken_from is not None}


def _is_stale(m: Measurement, known: Mapping[int, TrialResult | Trial]) -> bool:
    source = m.details.taken_from
    if source is None:
        return False
    there = known.get(source)
    now = None if there is None else (there.measurements or {}).get(m.metric)
    return now is None or now.taken_over or now.value != m.value
