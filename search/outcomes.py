"""A study's outcomes, with what is asked of them at every trial at hand.

A search asks after each job which outcome has a number, what was built from the same bytes, and
how much was spent. With ten thousand outcomes, going through all of them each time would be most of
what the search does. Where outcomes are in a plain list, as in a small recorder of a test, the
functions here go through it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex, cast

from paretune.core.result import OutcomeKind, TrialResult


class Outcomes(list[TrialResult]):
    """Outcomes by number.

    Attributes:
        changes: How often anything but an outcome at the end was added, replaced or removed:
            what was derived from the first ones still holds as long as it stays the same.
        removed: How often one was replaced or removed: what was derived from those that arrived
            before still holds as long as it stays the same. Of two builds in parallel, the later
            one may end first, so that outcomes arrive in another order than by number.
        spent_s: Seconds of work of all of them.
        trials: How many count as trials.
        skipped: How many were ruled out before any job.
    """

    def __init__(self, outcomes: Iterable[TrialResult] = ()) -> None:
        super().__init__()
        self.changes = self.removed = 0
        self.spent_s, self.trials, self.skipped = 0.0, 0, 0
        self._arrived: list[TrialResult] = []
        self._finished: list[TrialResult] = []
        self._by_id: dict[int, TrialResult] = {}
        self._by_candidate: dict[str, list[TrialResult]] = {}
        self._by_artifact: dict[str, list[TrialResult]] = {}
        self._by_structure: dict[str, list[TrialResult]] = {}
        for outcome in outcomes:
            self.append(outcome)

    def get(self, id: int) -> TrialResult | None:
        """Return the outcome with a number."""
        return self._by_id.get(id)

    def built_as(self, artifact: str) -> Sequence[TrialResult]:
        """Return the outcomes with an artifact, by number."""
        return self._by_artifact.get(artifact, ())

    def of_structure(self, structure: str) -> Sequence[TrialResult]:
        """Return the outcomes with a structure, by number."""
        return self._by_structure.get(structure, ())

    def of_candidate(self, digest: str) -> TrialResult | None:
        """Return the first outcome of a candidate."""
        return next(iter(self._by_candidate.get(digest, ())), None)

    def arrived(self) -> Sequence[TrialResult]:
        """Return the outcomes in the order in which they were added, as long as none changed."""
        return self._arrived

    def finished(self) -> Sequence[TrialResult]:
        """Return those that ended as `ok`, by number."""
        return self._finished

    def place(self, outcome: TrialResult) -> int:
        """Return the place of the outcome with the same number, or where it belongs."""
        return bisect.bisect_left(self, outcome.id, key=lambda known: known.id)

    def put(self, outcome: TrialResult) -> None:
        """Add an outcome at its place, instead of the one with its number if there is one."""
        place = self.place(outcome)
        if place < len(self) and self[place].id == outcome.id:
            self.remove(self[place])
        self.insert(place, outcome)

    def append(self, outcome: TrialResult) -> None:
        """Add an outcome at the end."""
        super().append(outcome)
        self._count(outcome, 1)
        self._by_id[outcome.id] = outcome
        self._arrived.append(outcome)
        if outcome.kind is OutcomeKind.OK:
            bisect.insort(self._finished, outcome, key=lambda known: known.id)
        for key, index in self._indexes(outcome):
            bisect.insort(index.setdefault(key, []), outcome, key=lambda known: known.id)

    def insert(self, index: SupportsIndex, outcome: TrialResult) -> None:
        """Add an outcome at a place."""
        place = index.__index__()
        self.append(outcome)
        if place < len(self) - 1:
            super().insert(place, super().pop())
            self.changes += 1

    def remove(self, outcome: TrialResult) -> None:
        """Remove an outcome, found by its number."""
        known = self._by_id.pop(outcome.id)
        del self[self.place(known)]
        self._count(known, -1)
        for key, index in self._indexes(known):
            index[key] = [other for other in index[key] if other is not known]
        self._finished = [other for other in self._finished if other is not known]
        self._arrived = list(self)
        self.changes += 1
        self.removed += 1

    def _indexes(self, outcome: TrialResult) -> Iterator[tuple[str, dict[str, list[TrialResult]]]]:
        yield outcome.candidate.digest, self._by_candidate
        if outcome.artifact is not None:
            yield outcome.artifact, self._by_artifact
        if outcome.structure is not None:
            yield outcome.structure, self._by_structure

    def _count(self, outcome: TrialResult, sign: int) -> None:
        self.spent_s += sign * outcome.spent_s
        self.trials += sign * outcome.is_trial
        self.skipped += sign * _ruled_out(outcome)


def with_id(outcomes: Sequence[TrialResult], id: int | None) -> TrialResult | None:
    """Return the outcome with a number."""
    if id is None:
        return None
    if isinstance(outcomes, Outcomes):
        return outcomes.get(id)
    return next((outcome for outcome in outcomes if outcome.id == id), None)


def built_as(outcomes: Sequence[TrialResult], artifact: str | None) -> Sequence[TrialResult]:
    """Return the outcomes with an artifact, by number."""
    if artifact is not None and isinstance(outcomes, Outcomes):
        return outcomes.built_as(artifact)
    return [outcome for outcome in outcomes if outcome.artifact == artifact]


def of_structure(outcomes: Sequence[TrialResult], structure: str) -> Sequence[TrialResult]:
    """Return the outcomes with a structure, by number."""
    if isinstance(outcomes, Outcomes):
        return outcomes.of_structure(structure)
    return [outcome for outcome in outcomes if outcome.structure == structure]


def skipped(outcomes: Sequence[TrialResult]) -> int:
    """Return how many were ruled out before any job."""
    if isinstance(outcomes, Outcomes):
        return outcomes.skipped
    return sum(map(_ruled_out, outcomes))


def _ruled_out(outcome: TrialResult) -> bool:
    """Return whether an outcome was reached without any job, by checks or by a known parent."""
    stopped = outcome.stopped_by_parent and not outcome.ran_job
    return stopped or outcome.kind is OutcomeKind.SKIPPED


def of_candidate(outcomes: Sequence[TrialResult], digest: str) -> TrialResult | None:
    """Return the first outcome of a candidate."""
    if isinstance(outcomes, Outcomes):
        return outcomes.of_candidate(digest)
    return next((outcome for outcome in outcomes if outcome.candidate.digest == digest), None)


def finished(outcomes: Sequence[TrialResult]) -> Sequence[TrialResult]:
    """Return those that ended as `ok`, in their order."""
    if isinstance(outcomes, Outcomes):
        return outcomes.finished()
    return [outcome for outcome in outcomes if outcome.kind is OutcomeKind.OK]


def arrived(outcomes: Sequence[TrialResult]) -> Sequence[TrialResult]:
    """Return the outcomes as they came, as long as `era` is the same."""
    return outcomes.arrived() if isinstance(outcomes, Outcomes) else outcomes


def version(outcomes: Sequence[TrialResult]) -> object:
    """Return what is equal as long as outcomes are only added at the end."""
    known = cast(object, outcomes)
    return (id(known), known.changes) if isinstance(known, Outcomes) else object()


def era(outcomes: Sequence[TrialResult]) -> object:
    """Return what is equal as long as outcomes are only added, in any order."""
    known = cast(object, outcomes)
    return (id(known), known.removed) if isinstance(known, Outcomes) else object()
