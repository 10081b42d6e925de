"""Jobs wait for what other processes do on the machine that they run on."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.core import machine_lock
from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Job, JobStatus, Smoke
from paretune.core.machine_lock import MachineLock
from paretune.core.model import Model, ModelKind
from paretune.core.progress import Progress
from paretune.core.target import Target
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget
from tests.core.test_machine_lock import Holder
from tests.targets.far_sides import CALL, MEASURE, WITHIN_S

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

SMOKE = Job(Smoke(model=Model(ModelKind.ONNX, Path("/m"), "sha256:1"), runtime=RuntimeSettings()))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(machine_lock.FOLDER, str(tmp_path / "machine"))
    return tmp_path / "machine"


@pytest.fixture(params=[LocalTarget, PythonTarget], ids=["here", "agent"])
def opened(machine: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target of this machine; the agent holds the machine by itself."""
    with request.param() as target:
        yield target


def told(job: Job) -> tuple[Job, Callable[[], Progress]]:
    """Return a job, and what waits for a sign of life from it."""
    seen: queue.SimpleQueue[Progress] = queue.SimpleQueue()
    return replace(job, on_progress=seen.put), lambda: seen.get(timeout=WITHIN_S)


def test_a_measurement_waits_for_that_of_another_process(opened: Target, machine: Path) -> None:
    holder = Holder(machine, "alone")
    job, progress = told(MEASURE)
    future = opened.submit(job)
    said = progress()
    assert said.waits
    assert f"process {holder.process.pid} measures on it" in said.note
    assert not future.done()
    holder.leave()
    result = future.result(WITHIN_S)
    assert result.status is JobStatus.FAILED, "there is no such model"
    assert result.waited > 0
    assert result.seconds < result.waited + WITHIN_S
    assert result.interference is not None, "watched from its beginning on"


def test_builds_wait_for_a_measurement_and_checks_for_nothing(
    opened: Target, machine: Path
) -> None:
    holder = Holder(machine, "alone")
    job, progress = told(SMOKE)
    future = opened.submit(job)
    assert progress().waits
    assert opened.submit(CALL).result(WITHIN_S).waited == 0.0
    assert not future.done()
    holder.leave()
    assert future.result(WITHIN_S).waited > 0
    builds = Holder(machine, "beside")
    assert opened.submit(SMOKE).result(WITHIN_S).waited == 0.0
    builds.leave()


def test_a_job_that_waits_can_be_cancelled(opened: Target, machine: Path) -> None:
    holder = Holder(machine, "beside")
    job, progress = told(MEASURE)
    future = opened.submit(job)
    assert progress().waits
    opened.cancel()
    assert future.result(WITHIN_S).status is JobStatus.CANCELLED
    holder.kill()
    assert opened.submit(MEASURE).result(WITHIN_S).waited == 0.0, "the other one is dead"


def test_interleaved_jobs_hold_the_machine_together(machine: Path) -> None:
    with LocalTarget() as target, ExitStack() as stack:
        seats = [target.begin(MEASURE, stack) for _ in range(2)]
        assert [seat.future.result(WITHIN_S).waited for seat in seats] == [0.0, 0.0]
        with MachineLock().use(alone=True) as waited:
            assert waited == 0.0


def test_an_agent_that_cannot_hold_its_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretune.core.errors import UsageError

    (tmp_path / "file").write_text("")
    monkeypatch.setenv(machine_lock.FOLDER, str(tmp_path / "file"))
    with (
        PythonTarget() as target,
        pytest.raises(UsageError, match="cannot be held for measurements"),
    ):
        target.info()
