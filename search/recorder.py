"""Where a search keeps its outcomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from paretune.core.candidate import Candidate
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.trial_state import Trial


class Recorder(Protocol):
    """Where outcomes become durable (a `paretune.study.folder.Study`, or a list in a test)."""

    @property
    def outcomes(self) -> list[TrialResult]:
        """Outcomes by number."""

    @property
    def paused(self) -> dict[int, Trial]:
        """Trials that can be continued, by number."""

    def next_id(self, taken: Collection[int] = ()) -> int:
        """Return the next candidate's number; `taken` are those of trials in flight."""

    def pause(self, trial: Trial) -> None:
        """Make a trial durable that was paused after a rung, before it returns."""

    def begin(self, id: int, candidate: Candidate) -> Any:
        """Note what is about to be tried; returns the candidate's folder."""

    def record(self, outcome: TrialResult) -> None:
        """Make an outcome durable before it returns; an earlier one of its number is dropped.

        A trial of this number is not paused any more, unless it was not promoted.
        """

    def update(self, outcome: TrialResult) -> None:
        """Put an outcome in the place of the one with its id, as durably."""

    def spent(self) -> float:
        """Return the seconds of work so far, that of dropped and unrecorded outcomes included."""

    def trials(self) -> int:
        """Return how often a candidate ran a job so far, dropped outcomes included."""

    def waste(self, seconds: float) -> None:
        """Add work that ended without an outcome to what is spent."""

    def confirmed(self, outcome: TrialResult, key: Json) -> dict[str, Measurement] | None:
        """Return what a candidate yielded on the held-out data; None: it was not measured."""

    def confirm(self, outcome: TrialResult, key: Json, measured: Mapping[str, Measurement]) -> None:
        """Make durable what a candidate yields on the held-out data."""

    def repeats_of(self, outcome: TrialResult) -> list[TrialResult]:
        """Return what became of a candidate's recipe with other training seeds."""

    def add_repeat(self, outcome: TrialResult, repeat: TrialResult) -> None:
        """Make durable what became of a candidate's recipe with other training seeds."""
