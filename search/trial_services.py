"""What a trial needs of a search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from paretune.core.candidate import Candidate
from paretune.search.early_stops import StopServices
from paretune.search.jobs import JobFactory
from paretune.search.parent_first import ParentServices
from paretune.search.prechecks import Foresight
from paretune.search.recorder import Recorder
from paretune.search.trial_jobs import JobServices
from paretune.stats.process_spread import Spread


class TrialServices(JobServices, StopServices, ParentServices, Protocol):
    """What a trial needs of a search (`paretune.search.run.SearchRun` describes it)."""

    recorder: Recorder
    job_factory: JobFactory
    noise_floor: float | None

    @property
    def clock(self) -> Callable[[], float]:
        """Gives seconds."""

    @property
    def look(self) -> Callable[[Candidate], Foresight]:
        """A candidate's prechecks."""

    def spreads(self) -> dict[str, Spread]:
        """Return what processes usually differ by in this study, by metric."""

    def can_measure(self, candidate: Candidate) -> bool:
        """Return whether a built candidate can be measured in the time that is left."""
