"""Turns: one job works at a time, each again and again; whoever dies ends it for all."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.job import (
    Call,
    Job,
    JobResult,
    JobStatus,
    Measure,
    TurnsEndedError,
    fit_together,
)
from paretune.core.target import Interleaves
from paretune.data.catalog import DataCatalog
from paretune.models.handle import open_model
from paretune.targets.interleave import ClosedError, Place, SocketParticipant, interleave
from paretune.targets.launchers.local import LocalTarget
from tests.tiny_models import make_tiny_llama

WELL = JobResult(JobStatus.OK, value=[])


class Threads:
    """Jobs as threads on the real sockets; notes who worked when."""

    def __init__(self, turns: int = 3, dies: Callable[[str, int], bool] = lambda *_: False) -> None:
        self.turns, self.dies = turns, dies
        self.pool = ThreadPoolExecutor(8)
        self.worked: list[tuple[float, float, str]] = []
        self.closed: list[str] = []

    def begin(self, job: Job, stack: ExitStack) -> SocketParticipant:
        seat = SocketParticipant(
            lambda address: self.pool.submit(self._run, job.task.name, address)
        )
        stack.callback(seat.close)
        return seat

    def _run(self, name: str, address: Any) -> JobResult:
        if self.dies(name, 0):
            return JobResult(JobStatus.CRASHED, reason="before it was ready")
        self._work(name)  # loads: nobody else runs
        place = Place(address)
        try:
            for number in range(self.turns):
                with place.turn():
                    if self.dies(name, number + 1):
                        return JobResult(JobStatus.CRASHED, reason=f"in turn {number + 1}")
                    self._work(name)
            place.leave()
        except ClosedError:
            self.closed.append(name)
            return JobResult(JobStatus.FAILED, reason="closed")
        finally:
            place.close()
        return WELL

    def _work(self, name: str) -> None:
        start = time.perf_counter()
        time.sleep(0.005)
        self.worked.append((start, time.perf_counter(), name))


def _jobs(names: str) -> list[Job]:
    return [Job(Call(name)) for name in names]


def test_one_works_at_a_time_and_all_before_any_works_again() -> None:
    threads = Threads(turns=6)
    assert interleave(threads.begin, _jobs("abc"), random.Random(0)) == [WELL] * 3
    worked = sorted(threads.worked)
    assert all(end <= start for (_, end, _), (start, _, _) in pairwise(worked))
    names = [name for _, _, name in worked]
    assert names[:3] == ["a", "b", "c"]  # each is started when the one before is ready
    sweeps = [names[i : i + 3] for i in range(3, len(names), 3)]
    assert [sorted(sweep) for sweep in sweeps] == [["a", "b", "c"]] * 6
    assert len({tuple(sweep) for sweep in sweeps}) > 1, "the order is drawn anew"


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_death_is_told_and_ends_the_others(when: int) -> None:
    threads = Threads(dies=lambda name, turn: name == "b" and turn == when)
    with pytest.raises(TurnsEndedError) as ended:
        interleave(threads.begin, _jobs("abc"), random.Random(0))
    assert ended.value.number == 1
    assert ended.value.result.status is JobStatus.CRASHED
    threads.pool.shutdown(wait=True)  # nobody waits for the dead
    assert set(threads.closed) == ({"a"} if when == 0 else {"a", "c"})


def test_one_that_hangs_is_waited_for_until_the_time_is_up() -> None:
    hold = threading.Event()
    threads = Threads(dies=lambda name, turn: name == "b" and turn == 2 and not hold.wait(20))
    with pytest.raises(TimeoutError):
        interleave(threads.begin, _jobs("ab"), random.Random(0), seconds=0.3)
    hold.set()
    threads.pool.shutdown(wait=True)


def test_models_that_fill_half_of_the_memory_do_not_go_together() -> None:
    assert fit_together([100_000_000] * 2, 4_000_000_000)
    assert not fit_together([1_000_000_000] * 2, 6_000_000_000)
    assert fit_together([1_000_000_000] * 2, 9_000_000_000)


def _measuring(folder: Path, evaluator: str, seconds: float = 0.05) -> Job:
    params = {"prompt_tokens": 8, "new_tokens": 4} if evaluator == "generation" else {}
    return Job(
        Measure(
            model=open_model(folder),
            runtime=RuntimeSettings("cpu", 1),
            evaluator=evaluator,
            params=params,
            seconds=seconds,
            block=True,
            data=DataCatalog({}, folder).to_json(),
        )
    )


def test_real_processes_take_turns_and_others_get_one(target: LocalTarget, tmp_path: Path) -> None:
    assert isinstance(target, Interleaves)
    model = make_tiny_llama(tmp_path / "model")
    (model / "fake.txt").write_text("x 0.5 10.0\n")
    jobs = [_measuring(model, "generation"), _measuring(model, "readback")]
    timed, other = target.interleave(jobs, random.Random(0))
    assert (timed.status, other.status) == (JobStatus.OK, JobStatus.OK)
    decode = next(m for m in timed.value if m.metric == "decode_ms_p50")
    assert len(decode.details["turns"]) == 4
    assert next(m for m in other.value if m.metric == "accuracy").value == 0.5


def test_turns_are_taken_where_the_temporary_folder_has_a_long_name(
    target: LocalTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets have names of about 100 bytes at most; a scheduler's folders have longer ones."""
    long = tmp_path / "slurm" / ("é" * 60) / ("job" * 40)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    model = make_tiny_llama(tmp_path / "model")
    (model / "fake.txt").write_text("x 0.5 10.0\n")
    jobs = [_measuring(model, "readback"), _measuring(model, "readback")]
    results = target.interleave(jobs, random.Random(0))
    assert [result.status for result in results] == [JobStatus.OK, JobStatus.OK]
    assert not list(long.glob("paretune-*"))


def test_a_process_that_is_killed_is_told(target: LocalTarget, tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    ready = [threading.Event(), threading.Event()]
    jobs = [
        replace(_measuring(model, "generation", seconds=60.0), on_progress=lambda _, e=e: e.set())
        for e in ready
    ]
    before = set(psutil.Process().children(recursive=True))
    found: list[BaseException] = []

    def run() -> None:
        try:
            target.interleave(jobs, random.Random(0))
        except TurnsEndedError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert all(event.wait(60) for event in ready)
    new = set(psutil.Process().children(recursive=True)) - before
    workers = [process for process in new if not process.children()]
    min(workers, key=lambda process: process.create_time()).kill()
    thread.join(30)
    assert not thread.is_alive()
    (error,) = found
    assert isinstance(error, TurnsEndedError)
    assert error.result.status is JobStatus.CRASHED
    assert error.number == 0
