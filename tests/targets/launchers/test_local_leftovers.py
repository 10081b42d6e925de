"""Whatever a job does, and however it is ended, nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import psutil
import pytest
from local_jobs import gone, run, wait_for

from paretune.core.errors import StateError
from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.packages import RUNTIMES
from paretune.targets.launchers.local import LocalTarget

# --- nothing stays behind --------------------------------------------------------------------


def test_a_daemon_that_left_the_group_is_gone_before_the_result(
    target: LocalTarget, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    assert run(target, "leave_a_daemon", pid_file=str(pid_file)).value == "left"
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_forked_child_that_holds_all_open_does_not_delay_the_result(
    target: LocalTarget, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    assert run(target, "leave_a_forked_child", pid_file=str(pid_file)).value == "left"
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_time_limit_ends_a_daemon_too(target: LocalTarget, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    limits = Limits(seconds=5.0)
    result = run(target, "leave_a_daemon", limits=limits, pid_file=str(pid_file), seconds=60.0)
    assert result.status is JobStatus.TIMEOUT
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_job_that_kills_the_server_ends_itself_only(target: LocalTarget) -> None:
    result = run(target, "kill_server")
    assert result.status is JobStatus.CRASHED
    assert result.reason == "was lost together with the process that starts the workers"
    assert run(target, "add", a=1, b=1).value == 2


def test_closing_ends_running_jobs_and_the_server(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    target = LocalTarget()
    ready = tmp_path / "ready.flag"
    job = Job(Call("job_functions:ignore_sigterm", {"ready": str(ready)}))
    future = target.submit(job)
    wait_for(ready)
    target.close()
    assert future.result(0).status is JobStatus.CANCELLED
    assert set(psutil.Process().children(recursive=True)) <= before
    with pytest.raises(StateError, match="closed"):
        target.submit(job)


_OWNER = """
import os, sys, time
from paretune.core.job import Call, Job
from paretune.targets.launchers.local import LocalTarget
target = LocalTarget()
arguments = {"pid_file": sys.argv[1], "seconds": 600}
target.submit(Job(Call("job_functions:leave_a_daemon", arguments)))
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
print(target._launcher.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork server")
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(pid_file)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with owner:
        assert owner.stdout is not None
        server = int(owner.stdout.readline())
        family = [p.pid for p in psutil.Process(server).children(recursive=True)]
        assert int(pid_file.read_text()) in family
        owner.send_signal(signal.SIGKILL)
    assert all(gone(pid) for pid in [server, *family])


# --- cancelling ------------------------------------------------------------------------------


def test_cancelling_ends_every_job_within_three_seconds(
    target: LocalTarget, tmp_path: Path
) -> None:
    ready = [tmp_path / f"{n}.flag" for n in range(2)]
    futures = [
        target.submit(Job(Call("job_functions:ignore_sigterm", {"ready": str(flag)})))
        for flag in ready
    ]
    for flag in ready:
        wait_for(flag)
    target.cancel()
    results = [future.result(120) for future in futures]
    assert [result.status for result in results] == [JobStatus.CANCELLED] * 2


def test_a_job_can_be_cancelled_while_the_server_imports() -> None:
    with LocalTarget() as target:
        target.preload(RUNTIMES)
        future = target.submit(Job(Call("job_functions:sleep", {"seconds": 600})))
        target.cancel()
        assert future.result(120).status is JobStatus.CANCELLED


# --- temporary files -------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["return", "die", "hang"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_temporary_files_are_gone_with_their_job(
    tmp_path: Path, then: str, start: Literal["fork", "spawn"]
) -> None:
    with LocalTarget(store_root=tmp_path / "store", start=start) as target:
        result = run(target, "leave_temporary_files", limits=Limits(seconds=5.0), then=then)
        assert (
            result.status
            is {
                "return": JobStatus.OK,
                "die": JobStatus.CRASHED,
                "hang": JobStatus.TIMEOUT,
            }[then]
        )
        if then == "return":
            assert (tmp_path / "store" / "staging") in Path(result.value).parents
    left = [*(tmp_path / "store" / "staging").iterdir(), *(tmp_path / "store" / "locks").iterdir()]
    assert left == []
