"""A real agent that stops answering, and one that comes back as another device."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_jobs import gone, nothing_stays_behind

from paretune.core.errors import ConnectionLostError, DeviceChangedError
from paretune.core.job import Call, Job, JobResult, JobStatus, Limits
from paretune.search.lost_targets import result_of, retried, submitted
from paretune.targets.launchers import conversation
from paretune.targets.launchers.python import PythonTarget
from paretune.targets.launchers.ssh import SshTarget
from tests.targets.far_sides import OtherFacts
from tests.targets.sshd import Sshd

JOBS = "paretune.testing.jobs"
ADD = Job(Call(f"{JOBS}:add", {"a": 1, "b": 2}))
_WITHIN_S = 300.0
Open = Callable[..., PythonTarget]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes targets that are closed at the end; no process stays behind."""
    with nothing_stays_behind(), ExitStack() as stack:

        def make(**options: Any) -> PythonTarget:
            return stack.enter_context(PythonTarget(**options))

        yield make


def agent_of(target: PythonTarget) -> psutil.Process:
    """Return the target's agent."""
    target.info()
    assert target._talk is not None
    return psutil.Process(target._talk._channel.pid)  # type: ignore[attr-defined]


def sleep(seconds: float, limit_s: float | None = None) -> Job:
    return Job(Call(f"{JOBS}:sleep", {"seconds": seconds}), Limits(limit_s))


def is_given_up(result: JobResult) -> None:
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert "was given up: paretune.testing.jobs:sleep sent no result" in (result.reason or "")
    assert isinstance(result.lost, ConnectionLostError)


def test_an_agent_that_is_stopped_is_given_up_and_the_next_job_starts_another(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "GRACE_S", 0.2)
    target = opened()
    agent = agent_of(target)
    agent.send_signal(signal.SIGSTOP)
    is_given_up(target.submit(sleep(900.0, 0.2)).result(_WITHIN_S))
    assert gone(agent.pid)
    monkeypatch.setattr(conversation, "GRACE_S", 600.0)
    assert target.submit(ADD).result(_WITHIN_S).value == 3


def test_a_job_of_a_stopped_agent_is_tried_again(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.search.lost_targets.RETRY_WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(conversation, "GRACE_S", 0.2)
    target = opened()
    agent_of(target).send_signal(signal.SIGSTOP)

    def longer(error: Any) -> None:
        monkeypatch.setattr(conversation, "GRACE_S", 600.0)

    monkeypatch.setattr("time.sleep", longer)
    assert result_of(target, sleep(0.0, 0.2)).status is JobStatus.OK


def test_an_agent_over_ssh_that_is_stopped_is_given_up(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "GRACE_S", 0.2)
    with SshTarget(name="board", host="board", python=sys.executable) as target:
        target.info()
        agents = [p for p in sshd.programs("paretune.targets.agent") if "python" in p.name()]
        for agent in agents:
            agent.send_signal(signal.SIGSTOP)
        try:
            is_given_up(target.submit(sleep(900.0, 0.2)).result(_WITHIN_S))
            monkeypatch.setattr(conversation, "GRACE_S", 600.0)
            assert target.submit(ADD).result(_WITHIN_S).value == 3
        finally:
            for agent in agents:
                agent.send_signal(signal.SIGCONT)
        assert all(gone(agent.pid) for agent in agents), "it ends itself once it goes on"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"processor": "Another CPU"}, "processor .* -> Another CPU"),
        ({"packages": {"onnxruntime": "0.1"}}, "package onnxruntime .* -> 0.1"),
        ({"cores": 64}, "cores .* -> 64"),
    ],
)
def test_another_device_that_answers_again_is_refused(
    opened: Open, tmp_path: Path, facts: dict[str, Any], told: str
) -> None:
    other = OtherFacts(tmp_path)
    target = opened(name="board", python=str(other.python))
    assert target.submit(ADD).result(_WITHIN_S).value == 3
    other.set(**facts)
    agent_of(target).kill()

    def twice() -> None:  # the first may meet the agent that was just killed
        for _ in range(2):
            retried(lambda: submitted(target, ADD), (0.0,), lambda _: None).result()

    with pytest.raises(DeviceChangedError, match=f"'board' is not the device .*{told}") as refused:
        twice()
    assert refused.value.exit_status == 2
    assert "start another study" in (refused.value.hint or "")
    lost = target.submit(ADD).result(_WITHIN_S)
    assert isinstance(lost.lost, DeviceChangedError)
    with pytest.raises(DeviceChangedError):
        target.info()
    other.set()
    assert target.submit(ADD).result(_WITHIN_S).value == 3, "it is the first device again"


def test_a_device_that_becomes_another_one_while_it_answers_is_refused(
    opened: Open, tmp_path: Path
) -> None:
    other = OtherFacts(tmp_path)
    target = opened(name="board", python=str(other.python))
    running = target.submit(sleep(900.0))
    target._device = None
    target.describe()
    assert target._device is not None
    target._device = replace(target._device, processor="The first one")
    with pytest.raises(DeviceChangedError, match="processor The first one -> "):
        target.describe()
    assert running.result(_WITHIN_S).transient, "no value of it is kept"


def test_another_start_of_the_same_device_loses_one_job_which_says_so(
    opened: Open, tmp_path: Path
) -> None:
    other = OtherFacts(tmp_path)
    other.set(boot_id="first")
    target = opened(name="board", python=str(other.python))
    running = target.submit(sleep(900.0))
    other.set(boot_id="second")
    agent_of(target).kill()
    assert running.result(_WITHIN_S).transient
    notes: list[str] = []
    again = retried(lambda: submitted(target, ADD), (0.0, 0.0), lambda _: None, notes.append)
    assert again.result(_WITHIN_S).value == 3
    assert any("'board' was started again; what ran there is lost" in note for note in notes)
    assert target.info().boot_id == "second"
    assert target.submit(ADD).result(_WITHIN_S).value == 3


def test_a_result_that_is_too_long_to_be_sent_is_said_to_be(opened: Open, tmp_path: Path) -> None:
    other = OtherFacts(tmp_path)
    other.set(most_line_bytes=2000)
    target = opened(name="board", python=str(other.python))
    result = target.submit(Job(Call("builtins:dict", {"x": "y" * 5000}))).result(_WITHIN_S)
    assert result.status is JobStatus.FAILED
    assert "the result cannot be sent" in (result.reason or "")
    assert "more than 2000" in (result.reason or "")
    assert target.submit(ADD).result(_WITHIN_S).value == 3


def test_an_agent_whose_standard_error_has_no_end(opened: Open, tmp_path: Path) -> None:
    shell = tmp_path / "python"
    shell.write_text(
        f'#!/bin/sh\nhead -c 20000000 /dev/zero | tr "\\0" x >&2\nexec {sys.executable} "$@"\n'
    )
    shell.chmod(0o755)
    target = opened(python=str(shell))
    assert target.submit(ADD).result(_WITHIN_S).value == 3
    assert target._talk is not None
    assert len(target._talk._channel._said._kept) <= 2000  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "program",
    ["exec cat", "yes", "exec head -c 300000000 /dev/zero", 'echo "[[[["; exec sleep 900'],
)
def test_a_program_that_is_no_agent_is_refused(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(conversation, "_DESCRIBED_WITHIN_S", 0.5)
    shell = tmp_path / "python"
    shell.write_text(f"#!/bin/sh\n{program}\n")
    shell.chmod(0o755)
    target = opened(name="board", python=str(shell))
    with pytest.raises(Exception, match=r"'board' cannot be used: ") as refused:
        target.info()
    assert getattr(refused.value, "exit_status", None) == 2
