"""What is kept for the finalists is not lent as far as they need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_search import IN_TURNS, FakeWorkbench, NoisyTarget, make_engine, measures, noop

from paretune.core.candidate import Candidate
from paretune.core.job import Build, Job, JobResult
from paretune.core.jsontools import digest
from paretune.search.confirm.held_out import Confirmation
from paretune.search.engine import Engine
from paretune.search.jobs import Aside
from paretune.stats.pooling import last_round

TIME_S = 100.0
MEASURING_S = {"classification": 2.0, "generation": 1.0}
"""Of each process; a rough and a full one of the accuracy, one and three of the speed: 8 s."""


class Workbench(FakeWorkbench):
    """Notes which jobs are the finalists' rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[Job] = []

    def measure(self, *args: Any, block: bool = False, **others: Any) -> Job:
        job = super().measure(*args, block=block, **others)
        if block:
            self.rounds.append(job)
        return job


class TimedTarget(NoisyTarget):
    """Jobs take the seconds of a clock that nothing else moves: builds what `takes` says."""

    def __init__(self, workbench: Workbench, noise: float) -> None:
        super().__init__(noise)
        self.now = 0.0
        self._workbench = workbench
        self._built: set[str] = set()

    def _answer(self, job: Job) -> JobResult | None:
        if isinstance(job.task, Build):
            params = dict(job.task.recipe[-1].params)
            if digest(params) not in self._built:  # else the store has it
                self.now += float(str(params.get("takes", 1)))
                self._built.add(digest(params))
        elif any(job is each for each in self._workbench.rounds):
            self.now += 0.8
        else:
            self.now += sum(s for name, s in MEASURING_S.items() if measures(job, name))
        return super()._answer(job)


def search(folder: Path, candidates: list[Candidate], noise: float = 0.01, **given: Any) -> Engine:
    workbench = Workbench()
    target = TimedTarget(workbench, noise)
    engine = make_engine(
        folder, candidates, clock=lambda: target.now, time_s=TIME_S, finals_s=70.0, **given
    )
    engine.evaluators, engine.target, engine.job_factory = IN_TURNS, target, workbench
    engine.run()
    assert target.now <= TIME_S
    return engine


NEAR = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]


def measured_in_rounds(engine: Engine) -> list[bool]:
    return [last_round(o.measurements or {}) > 0 for o in engine.recorder.outcomes]


@pytest.mark.parametrize("takes", [56.0, 59.0, 61.0, 65.0])
def test_a_build_that_takes_longer_does_not_cost_the_finalists_their_rounds(
    tmp_path: Path, takes: float
) -> None:
    """Two trials end after 18 s; ten rounds of two take 16 s, and nothing else is left by then."""
    late = noop(x=3, ms=20.0, quality=0.5, takes=takes)
    engine = search(tmp_path, [*NEAR, late])
    assert len(engine.recorder.outcomes) == (3 if takes < 57 else 2)
    assert measured_in_rounds(engine)[:2] == [True, True]


def test_what_nothing_needs_is_lent(tmp_path: Path) -> None:
    """Far apart on both metrics, the finalists need no round, and nothing is kept."""
    far = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=90.0, quality=0.5)]
    late = noop(x=3, ms=95.0, quality=0.4, takes=74.0)
    assert len(search(tmp_path, [*far, late]).recorder.outcomes) == 3


def test_the_time_of_the_confirmation_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds that decide nothing end when the confirmation begins, not as long before as it takes.

    The trials end after 18 s. The held-out data is five times the 4 s of the accuracy.
    """
    monkeypatch.setattr(Confirmation, "run", lambda self: None)
    aside = Aside(IN_TURNS[0], "classification", "d.confirm", "sha256:0", share=5.0)
    alike = [noop(x=1, quality=0.9), noop(x=2, quality=0.95)]
    engine = search(tmp_path, alike, noise=0.2, aside=[aside])
    assert engine.clock() == pytest.approx(TIME_S - 20.0, abs=2.0)
