"""Builds in flight, one measurement at a time, and wall time that counts once."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeTarget, FakeWorkbench, make_engine, noop, recipe_of

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.device import TargetInfo
from paretune.core.job import Job, JobResult
from paretune.core.result import OutcomeKind
from paretune.core.target import build_slots
from paretune.search.engine import Engine

DEADLINE_S = 60.0
"""After so long a search that waits for something that never comes has failed its test."""


class Slow(FakeTarget):
    """Builds end when `release` says so; it notes what ran beside what."""

    builds_apart = False

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[tuple[Job, Future[JobResult]]] = []
        self.most = 0
        self.beside_measurements: list[int] = []
        self.order: list[Any] = []

    def submit(self, job: Job) -> Future[JobResult]:
        if job.kind != "build":
            running = [f for _, f in self.pending if not f.done()]
            self.beside_measurements.append(len(running))
            self.measuring()
            return super().submit(job)
        future: Future[JobResult] = Future()
        self.pending.append((job, future))
        self.order.append(recipe_of(job)[-1].params.get("x"))
        self.most = max(self.most, sum(not f.done() for _, f in self.pending))
        self.building()
        return future

    def finish(self, number: int) -> None:
        """End the nth of the running builds."""
        job, future = [pair for pair in self.pending if not pair[1].done()][number]
        answer = self._answer(job)
        assert answer is not None
        future.set_result(answer)

    def building(self) -> None:
        """Called at the start of each build: two of them end the first one."""
        if sum(not f.done() for _, f in self.pending) == 2:
            threading.Thread(target=lambda: [self.finish(0) for _ in range(2)]).start()

    def measuring(self) -> None:
        """Called at the start of each measurement."""


def _engine(folder: Path, count: int, target: FakeTarget, **settings: Any) -> Engine:
    settings = {"builds": 2, "time_s": DEADLINE_S, "trials": count, **settings}
    engine = make_engine(folder, [noop(x=x) for x in range(count)], **settings)
    engine.target = target
    return engine


def test_builds_are_parallel_and_none_runs_while_something_is_measured(tmp_path: Path) -> None:
    target = Slow()
    engine = _engine(tmp_path, 6, target)
    engine.run()
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK] * 6
    assert [o.id for o in engine.recorder.outcomes] == [1, 2, 3, 4, 5, 6]
    assert [o.candidate for o in engine.recorder.outcomes] == [noop(x=x) for x in range(6)]
    assert target.most == 2
    assert set(target.beside_measurements) == {0}
    assert not engine.out_of_time


class Apart(Slow):
    """Builds elsewhere: all but the first end once something is measured."""

    builds_apart = True

    def building(self) -> None:
        if len(self.pending) == 1:
            self.finish(0)

    def measuring(self) -> None:
        if any(not future.done() for _, future in self.pending):
            self.finish(0)


def test_builds_on_another_machine_go_on_meanwhile(tmp_path: Path) -> None:
    target = Apart()
    engine = _engine(tmp_path, 5, target, builds=1)
    engine.run()
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK] * 5
    assert max(target.beside_measurements) == 1
    assert target.most == 1, "one slot"
    assert not engine.out_of_time


class Roomy(Slow):
    """Has memory, and notes the limits of its builds."""

    members: tuple[FakeTarget, ...] = ()

    def info(self) -> TargetInfo:
        return TargetInfo("roomy", memory_free=10**9)

    def limits(self) -> set[int | None]:
        return {job.limits.memory for job, _ in self.pending}


class Hosts(Roomy):
    """Two machines; who sends the builds there knows how many are on each."""

    members = (FakeTarget(), FakeTarget())


def test_builds_share_the_memory_of_one_machine_and_not_of_several(tmp_path: Path) -> None:
    alone, hosts = Roomy(), Hosts()
    _engine(tmp_path / "alone", 4, alone).run()
    _engine(tmp_path / "hosts", 4, hosts).run()
    assert alone.limits() == {450_000_000}
    assert hosts.limits() == {None}


def test_what_is_in_flight_at_the_deadline_counts_once(tmp_path: Path) -> None:
    class Never(Slow):
        def building(self) -> None:
            if len(self.pending) == 1:
                self.finish(0)

    engine = _engine(tmp_path, 4, Never(), builds=3, time_s=2.0)
    engine.run()
    assert len(engine.recorder.outcomes) == 1, "the baseline, before the others began"
    assert engine.out_of_time
    assert engine.target.cancelled  # type: ignore[attr-defined]
    assert 1.5 < engine.recorder.spent() < 4.0, "wall time, not the sum of three"
    assert engine.scheduler.unrecorded == 3


def test_an_interruption_stops_all_that_is_in_flight(tmp_path: Path) -> None:
    class Interrupted(Slow):
        def building(self) -> None:
            if len(self.pending) == 2:
                raise KeyboardInterrupt

    engine = _engine(tmp_path, 3, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert engine.target.cancelled  # type: ignore[attr-defined]
    assert engine.recorder.outcomes == []


def _two_steps(r: int, bits: int) -> Candidate:
    return Candidate(
        (Step("lora", {"r": r}), Step("noop", {"x": 10 * r + bits})), RuntimeSettings()
    )


class Prefixes(FakeWorkbench):
    """Knows the prefixes of what was built."""

    def __init__(self, target: Slow) -> None:
        super().__init__()
        self.target = target

    def built_steps(self, candidate: Candidate) -> int:
        done = [recipe_of(job) for job, future in self.target.pending if future.done()]
        both = range(len(candidate.recipe), 0, -1)
        known = [n for n in both if any(d[:n] == candidate.recipe[:n] for d in done)]
        return known[0] if known else 0


def test_a_candidate_waits_for_a_prefix_that_is_being_built(tmp_path: Path) -> None:
    class Single(Slow):
        def building(self) -> None:
            running = [recipe_of(job)[0] for job, f in self.pending if not f.done()]
            done = [recipe_of(job)[0] for job, f in self.pending if f.done()]
            assert all(running.count(one) == 1 or one in done for one in running)
            super().building()

    candidates = [_two_steps(r, bits) for r in (1, 2) for bits in (1, 2, 3)]
    target = Single()
    engine = make_engine(tmp_path, candidates, builds=2, time_s=DEADLINE_S, trials=6)
    engine.target, engine.job_factory = target, Prefixes(target)
    engine.run()
    assert target.order[:2] == [11, 21], "the second one shares a prefix with the first"
    assert len(engine.recorder.outcomes) == 6
    assert {o.kind for o in engine.recorder.outcomes} <= {OutcomeKind.OK, OutcomeKind.PRUNED}


def test_a_target_says_how_many_builds_it_takes() -> None:
    target = FakeTarget()
    assert build_slots(target) == 1
    target.build_slots = 3  # type: ignore[attr-defined]
    assert build_slots(target) == 3
