"""A target that is lost during a search: tried again, and then the search ends; no outcome."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, noop

from paretune.core.errors import DeviceChangedError, TargetLostError, TargetRefusesError
from paretune.core.job import Job, JobResult, JobStatus, TurnsEndedError
from paretune.core.result import OutcomeKind
from paretune.search.lost_targets import result_of

AWAY = TargetLostError("board is away", hint="Switch it on.")
GONE = JobResult(JobStatus.CRASHED, reason="the connection was lost", transient=True)
BAD = JobResult(JobStatus.FAILED, reason="of its own")
OK = JobResult(JobStatus.OK)


class Away(FakeTarget):
    """Cannot be reached for some submits, counted from one of them on.

    Args:
        first: From which job on; 0: the first.
        times: How often.
        why: What is said of it.
    """

    def __init__(self, first: int, times: int, why: TargetLostError = AWAY) -> None:
        super().__init__()
        self._why = why
        self._away = range(first, first + times)
        self._asked = 0

    def submit(self, job: Job) -> Future[JobResult]:
        self._asked += 1
        if self._asked - 1 not in self._away:
            return super().submit(job)
        future: Future[JobResult] = Future()
        why = self._why
        future.set_result(JobResult(JobStatus.CRASHED, reason=str(why), transient=True, lost=why))
        return future


def engine(folder: Path, target: Any) -> Any:
    waits = (0.0, 0.0)
    made = make_engine(folder, [noop(x=0), noop(x=1)], retry_waits_s=waits, lost_waits_s=waits)
    made.target = target
    return made


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("first", [0, 2, 7])
def test_it_is_tried_again_and_nothing_else_changes(tmp_path: Path, first: int, times: int) -> None:
    undisturbed, made = FakeTarget(), engine(tmp_path, Away(first, times))
    expected = engine(tmp_path, undisturbed)
    made.run()
    expected.run()
    assert made.target.jobs == undisturbed.jobs
    outcomes = made.recorder.outcomes
    assert {o.kind for o in outcomes} == {OutcomeKind.OK}
    measured = [(o.id, o.measurements) for o in outcomes]
    assert measured == [(o.id, o.measurements) for o in expected.recorder.outcomes]


@pytest.mark.parametrize(("first", "recorded"), [(0, []), (7, [1])])
def test_a_target_that_stays_away_ends_the_search_without_an_outcome(
    tmp_path: Path, first: int, recorded: list[int]
) -> None:
    made = engine(tmp_path, Away(first, 1000))
    with pytest.raises(TargetLostError, match="board is away") as caught:
        made.run()
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Switch it on. Then give the same command again")
    assert [outcome.id for outcome in made.recorder.outcomes] == recorded


def test_another_device_in_its_place_ends_the_search_at_once(tmp_path: Path) -> None:
    made = engine(tmp_path, Away(7, 1000, DeviceChangedError("board changed", hint="Restore it.")))
    with pytest.raises(DeviceChangedError, match="board changed") as caught:
        made.run()
    assert (caught.value.hint or "").startswith("Restore it. Then give the same command again")
    assert made.target._asked == 8, "it is not tried again"
    assert [outcome.id for outcome in made.recorder.outcomes] == [1]


def test_a_target_that_refuses_ends_the_search_at_once(tmp_path: Path) -> None:
    made = engine(tmp_path, Away(7, 1000, TargetRefusesError("its host key is another one")))
    with pytest.raises(TargetRefusesError, match="its host key is another one"):
        made.run()
    assert made.target._asked == 8, "it is not tried again"


class Interleaving(FakeTarget):
    """Gives results of interleaved jobs, or errors, one after another."""

    def __init__(self, *answers: BaseException | list[JobResult]) -> None:
        super().__init__()
        self._answers = iter(answers)

    def interleave(
        self, jobs: Sequence[Job], order: random.Random, seconds: float | None = None
    ) -> list[JobResult]:
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([TurnsEndedError(0, GONE), AWAY, [OK]], None),
        ([TurnsEndedError(0, GONE)] * 3, TurnsEndedError),
        ([TurnsEndedError(0, BAD)], TurnsEndedError),
        ([AWAY] * 3, TargetLostError),
        ([DeviceChangedError("board changed")], DeviceChangedError),
    ],
)
def test_interleaved_jobs_are_tried_again(
    tmp_path: Path, answers: list[Any], raised: type[Exception] | None
) -> None:
    made = engine(tmp_path, Interleaving(*answers))
    job = made.job_factory.build(noop(x=0))
    if raised is None:
        assert made.interleave([job], random.Random(0)) == [OK]
    else:
        with pytest.raises(raised):
            made.interleave([job], random.Random(0))


def test_a_job_beside_the_trials_is_tried_again_after_a_transient_failure(tmp_path: Path) -> None:
    made = engine(tmp_path, FakeTarget())
    for times, status in ((2, JobStatus.OK), (9, JobStatus.CRASHED)):
        failing = noop(x=times, status="crashed", transient=True, times=times)
        made.target.jobs.clear()
        assert made.submit(made.job_factory.build(failing)).status is status
        assert len(made.target.jobs) == 3


def test_a_job_outside_of_a_search_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    job = engine(tmp_path, FakeTarget()).job_factory.build(noop(x=0))
    assert result_of(Away(0, 2), job).status is JobStatus.OK
    with pytest.raises(TargetLostError, match=r"board is away\n  Switch it on\.$"):
        result_of(Away(0, 3), job)
    failing = engine(tmp_path, FakeTarget()).job_factory.build(
        noop(status="crashed", transient=True, times=2)
    )
    assert result_of(FakeTarget(), failing).status is JobStatus.OK
