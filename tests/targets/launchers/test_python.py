"""Another interpreter as a target: its agent, what it is given, and what becomes of a lost one."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from local_jobs import gone, nothing_stays_behind

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.job import Call, Job, JobStatus, Limits, Smoke, TurnsEndedError
from paretune.core.model import Model, ModelKind
from paretune.core.progress import Progress
from paretune.targets.launchers import agent_target
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.python import PythonTarget

JOBS = "paretune.testing.jobs"


@pytest.fixture
def target() -> Iterator[PythonTarget]:
    """A target with this interpreter; no process of its stays behind."""
    with nothing_stays_behind(), PythonTarget() as made:
        yield made


def add(target: PythonTarget) -> object:
    return target.submit(Job(Call(f"{JOBS}:add", {"a": 1, "b": 2}))).result(300).value


def agent_of(target: PythonTarget) -> psutil.Process:
    """Return the target's agent, which leads a session of its own."""
    target.info()
    return next(
        process
        for process in psutil.Process().children()
        if "paretune.targets.agent" in process.cmdline()
    )


def test_the_facts_are_those_of_this_machine_and_say_what_is_installed_there(
    target: PythonTarget,
) -> None:
    here, there = LocalTarget().info(), target.info()
    assert there.name == "python"
    assert (there.processor, there.boot_id) == (here.processor, here.boot_id)
    assert there.packages == here.packages
    told = target.describe()
    assert told.runtimes == dict.fromkeys(("genai", "torch", "onnxruntime", "torch_arrays"))
    assert not told.plugins, "the fakes of these tests are not installed there"


def test_it_is_given_no_path_of_this_interpreter(
    target: PythonTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    other = PythonTarget()
    for each in (target, other):
        result = each.submit(Job(Call("job_functions:facts"))).result(300)
        assert result.status is JobStatus.FAILED
        assert "No module named 'job_functions'" in (result.reason or "")
    other.close()


def test_output_goes_to_the_log_and_progress_comes_back(
    target: PythonTarget, tmp_path: Path
) -> None:
    log, seen = tmp_path / "worker.log", list[Progress]()
    log.write_text("before\n")
    nowhere = Model(ModelKind.HF, tmp_path / "nowhere", "sha256:0")
    task = Smoke(model=nowhere, runtime=RuntimeSettings())
    result = target.submit(Job(task, log=log, on_progress=seen.append)).result(300)
    assert result.status is JobStatus.FAILED
    assert [progress.step for progress in seen] == ["smoke"]
    text = log.read_text()
    assert text.startswith("before\n")
    assert "Traceback" in text


def test_a_display_that_raises_ends_its_job(target: PythonTarget, tmp_path: Path) -> None:
    def show(_: Progress) -> None:
        raise RuntimeError("the display is broken")

    nowhere = Model(ModelKind.HF, tmp_path / "nowhere", "sha256:0")
    task = Smoke(model=nowhere, runtime=RuntimeSettings())
    with pytest.raises(RuntimeError, match="the display is broken"):
        target.submit(Job(task, on_progress=show)).result(300)
    assert add(target) == 3


def test_one_job_of_several_is_cancelled(target: PythonTarget) -> None:
    long = [target.submit(Job(Call(f"{JOBS}:sleep", {"seconds": 900}))) for _ in range(2)]
    target.cancel(long[1])
    assert long[1].result(300).status is JobStatus.CANCELLED
    assert not long[0].done()
    target.cancel()
    assert long[0].result(300).status is JobStatus.CANCELLED


def test_a_killed_agent_is_a_transient_crash_and_the_next_job_starts_another(
    target: PythonTarget, tmp_path: Path
) -> None:
    agent = agent_of(target)
    future = target.submit(Job(Call(f"{JOBS}:sleep", {"seconds": 900})))
    assert not future.done()
    children = agent.children(recursive=True)
    agent.kill()
    result = future.result(300)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert "the connection to python was lost" in (result.reason or "")
    assert all(gone(child.pid) for child in children)
    assert add(target) == 3


def test_a_killed_agent_ends_jobs_that_take_turns(target: PythonTarget) -> None:
    agent = agent_of(target)
    jobs = [Job(Call(f"{JOBS}:sleep", {"seconds": 900}), Limits(600.0)) for _ in range(2)]
    timer = threading.Timer(1.0, agent.kill)
    timer.start()
    with pytest.raises(TurnsEndedError) as ended:
        target.interleave(jobs, random.Random(0))
    assert ended.value.result.transient
    timer.join()


def test_turns_that_take_too_long_end_every_job(target: PythonTarget) -> None:
    jobs = [Job(Call(f"{JOBS}:sleep", {"seconds": 900})) for _ in range(2)]
    with pytest.raises(TimeoutError):
        target.interleave(jobs, random.Random(0), seconds=2.0)
    assert add(target) == 3


_OWNER = f"""
import sys
from paretune.core.job import Call, Job
from paretune.targets.launchers.python import PythonTarget
target = PythonTarget()
future = target.submit(Job(Call("{JOBS}:sleep", {{"seconds": 900}})))
print(target.info().cores, flush=True)
future.result()
"""


def test_an_agent_ends_with_whoever_started_it() -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        below = psutil.Process(owner.pid).children(recursive=True)
        assert below
        owner.kill()
    assert all(gone(process.pid) for process in below)


def test_an_interpreter_that_is_not_there_is_refused() -> None:
    target = PythonTarget(python="/nowhere/python")
    with pytest.raises(UsageError, match="/nowhere/python cannot be started: No such file"):
        target.info()


def test_an_environment_without_paretune_is_refused_with_what_to_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    with (
        PythonTarget(name="other", python=str(python)) as target,
        pytest.raises(UsageError, match="paretune is not installed where 'other' runs") as refused,
    ):
        target.submit(Job(Call(f"{JOBS}:add", {"a": 1, "b": 2})))
    assert f"{python} -m pip install" in (refused.value.hint or "")


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_target, "__version__", "99.0")
    with (
        PythonTarget() as target,
        pytest.raises(UsageError, match=r"paretune of python is .* this one 99\.0") as refused,
    ):
        target.info()
    assert "Install this paretune there" in (refused.value.hint or "")


def test_what_a_login_prints_before_the_agent_is_passed_over(tmp_path: Path) -> None:
    shell = tmp_path / "python"
    shell.write_text(f'#!/bin/sh\necho Welcome!\nexec {sys.executable} "$@"\n')
    shell.chmod(0o755)
    with PythonTarget(python=str(shell)) as target:
        assert add(target) == 3


def test_a_closed_target_says_so(target: PythonTarget, tmp_path: Path) -> None:
    assert add(target) == 3
    target.close()
    with pytest.raises(Exception, match="the target is closed"):
        add(target)


def test_an_agent_that_is_asked_to_end_ends_its_jobs(target: PythonTarget) -> None:
    agent = agent_of(target)
    future = target.submit(Job(Call(f"{JOBS}:sleep", {"seconds": 900})))
    agent.terminate()
    assert future.result(300).status in (JobStatus.CRASHED, JobStatus.CANCELLED)
    assert gone(agent.pid)
