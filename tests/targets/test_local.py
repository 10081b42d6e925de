from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from paretune.errors import StateError
from paretune.targets.base import Job, JobResult, JobStatus, Limits
from paretune.targets.local import PRELOADED, LocalTarget, worker_environment

MB = 1_000_000
NO_LIMITS = Limits()


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    before = set(psutil.Process().children(recursive=True))
    with LocalTarget(preload=False) as made:
        yield made
    assert set(psutil.Process().children(recursive=True)) <= before, "a process stayed behind"


def run(
    target: LocalTarget,
    name: str,
    /,
    limits: Limits = NO_LIMITS,
    log: Path | None = None,
    **arguments: Any,
) -> JobResult:
    payload = {"function": f"job_functions:{name}", "args": arguments}
    return target.submit(Job("call", payload, limits, log)).result(60)


def wait_for(path: Path, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while not (path.is_file() and (path.stat().st_size or path.suffix == ".flag")):
        assert time.monotonic() < deadline, f"{path.name} never appeared"
        time.sleep(0.01)
    return path.read_text()


def gone(pid: int, seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:  # init is slow to collect it
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


# --- how a job can end -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "status", "reason"),
    [
        ("segfault", {}, JobStatus.CRASHED, "segmentation fault (SIGSEGV)"),
        ("drop_dead", {"status": 3}, JobStatus.CRASHED, "exited with status 3 without a result"),
        ("drop_dead", {"status": 0}, JobStatus.CRASHED, "exited with status 0 without a result"),
        ("kill_self", {"number": 9}, JobStatus.CRASHED, "killed from outside (SIGKILL)"),
        ("kill_self", {"number": 15}, JobStatus.CRASHED, "ended from outside (SIGTERM)"),
        ("kill_self", {"number": 40}, JobStatus.CRASHED, "signal 40"),
        ("leave", {"status": 2}, JobStatus.FAILED, "SystemExit: 2"),
        ("fail", {"message": "no such thing"}, JobStatus.FAILED, "ValueError: no such thing"),
        ("raise_memory_error", {}, JobStatus.OUT_OF_MEMORY, "MemoryError"),
        ("not_json", {}, JobStatus.FAILED, "TypeError: Object of type object is not JSON seri"),
        ("no_such_function", {}, JobStatus.FAILED, "AttributeError: module 'job_functions' has"),
    ],
)
def test_each_end_has_its_status_and_reason(
    target: LocalTarget, name: str, arguments: dict[str, Any], status: JobStatus, reason: str
) -> None:
    result = run(target, name, **arguments)
    assert result.status is status
    assert (result.reason or "").startswith(reason)
    assert result.value is None


@pytest.mark.parametrize(
    ("name", "status", "shown"),
    [
        ("InvalidArtifactError", JobStatus.INVALID, "does not load: x"),
        ("PassError", JobStatus.FAILED, "does not load: x"),
        ("UsageError", JobStatus.FAILED, "does not load: x"),
    ],
)
def test_our_own_errors_are_shown_by_their_message(
    target: LocalTarget, name: str, status: JobStatus, shown: str
) -> None:
    result = run(
        target, "raise_from", module="paretune.errors", name=name, message="does not load: x"
    )
    assert (result.status, result.reason) == (status, shown)


def test_not_a_number_comes_back_as_such(target: LocalTarget) -> None:
    value = run(target, "not_a_number").value
    assert math.isnan(value["value"])
    assert value["low"] == -math.inf


def test_a_large_value_and_a_large_argument_pass(target: LocalTarget) -> None:
    value = list(range(300_000))  # far more than a pipe holds
    assert run(target, "echo", value=value).value == value


# --- limits ----------------------------------------------------------------------------------


def test_an_endless_loop_ends_at_its_time_limit(target: LocalTarget) -> None:
    start = time.monotonic()
    result = run(target, "spin", limits=Limits(seconds=1.0))
    assert result.status is JobStatus.TIMEOUT
    assert result.reason == "still running after its time limit of 1 s"
    assert 1.0 <= time.monotonic() - start < 3.0
    assert 1.0 <= result.seconds < 3.0


def test_a_job_that_ignores_sigterm_is_killed(target: LocalTarget, tmp_path: Path) -> None:
    start = time.monotonic()
    ready = tmp_path / "ready.flag"
    result = run(target, "ignore_sigterm", limits=Limits(seconds=1.0), ready=str(ready))
    assert ready.exists()
    assert result.status is JobStatus.TIMEOUT
    assert 3.0 <= time.monotonic() - start < 5.0


def test_a_job_that_is_ended_may_clean_up(target: LocalTarget, tmp_path: Path) -> None:
    sign = tmp_path / "cleaned"
    result = run(target, "clean_up_when_ended", limits=Limits(seconds=0.5), sign=str(sign))
    assert result.status is JobStatus.TIMEOUT
    assert sign.exists()


def test_a_memory_overrun_is_told_with_both_numbers(target: LocalTarget) -> None:
    result = run(
        target, "hold", limits=Limits(seconds=30, memory=200 * MB), megabytes=700, seconds=30.0
    )
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert result.peak_memory > 200 * MB
    shown = f"held {result.peak_memory / MB:.0f} MB of memory, more than its limit of 200 MB"
    assert result.reason == shown


def test_the_memory_of_descendants_counts(target: LocalTarget) -> None:
    result = run(
        target, "grow_in_a_child", limits=Limits(seconds=30, memory=200 * MB), megabytes=400
    )
    assert result.status is JobStatus.OUT_OF_MEMORY


def test_memory_below_the_limit_is_measured(target: LocalTarget) -> None:
    result = run(target, "hold", limits=Limits(memory=900 * MB), megabytes=300, seconds=0.5)
    assert result.value == 300 * MB
    assert 300 * MB < result.peak_memory < 420 * MB


def test_without_a_limit_a_share_of_free_memory_is_the_limit(
    target: LocalTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.targets.local.free_memory", lambda: 300 * MB)
    result = run(target, "hold", megabytes=400, seconds=30.0)
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert "its limit of 270 MB" in (result.reason or "")


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
    start = time.monotonic()
    assert run(target, "leave_a_forked_child", pid_file=str(pid_file)).value == "left"
    assert time.monotonic() - start < 2.0
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_time_limit_ends_a_daemon_too(target: LocalTarget, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    limits = Limits(seconds=1.0)
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
    target = LocalTarget(preload=False)
    ready = tmp_path / "ready.flag"
    payload = {"function": "job_functions:ignore_sigterm", "args": {"ready": str(ready)}}
    future = target.submit(Job("call", payload))
    wait_for(ready)
    start = time.monotonic()
    target.close()
    assert time.monotonic() - start < 4.0
    assert future.result(0).status is JobStatus.CANCELLED
    assert set(psutil.Process().children(recursive=True)) <= before
    with pytest.raises(StateError, match="closed"):
        target.submit(Job("call", payload))


_OWNER = """
import os, sys, time
from paretune.targets.base import Job
from paretune.targets.local import LocalTarget
target = LocalTarget(preload=False)
arguments = {"pid_file": sys.argv[1], "seconds": 60}
target.submit(Job("call", {"function": "job_functions:leave_a_daemon", "args": arguments}))
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read():
    time.sleep(0.01)
print(target._launcher.pid, flush=True)
time.sleep(60)
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
        target.submit(
            Job("call", {"function": "job_functions:ignore_sigterm", "args": {"ready": str(flag)}})
        )
        for flag in ready
    ]
    for flag in ready:
        wait_for(flag)
    start = time.monotonic()
    target.cancel()
    results = [future.result(10) for future in futures]
    assert time.monotonic() - start < 3.0
    assert [result.status for result in results] == [JobStatus.CANCELLED] * 2


def test_a_job_can_be_cancelled_while_the_server_imports() -> None:
    with LocalTarget(preload=True) as target:
        future = target.submit(
            Job("call", {"function": "job_functions:sleep", "args": {"seconds": 60}})
        )
        start = time.monotonic()
        target.cancel()
        assert future.result(10).status is JobStatus.CANCELLED
    assert time.monotonic() - start < 3.0


# --- surroundings ----------------------------------------------------------------------------


def test_a_job_has_a_session_of_its_own_and_no_input(target: LocalTarget) -> None:
    facts = run(target, "facts").value
    assert facts["pid"] == facts["session"] != os.getsid(0)
    assert facts["stdin"] == ""


def test_workers_are_offline_unless_allowed() -> None:
    strict = worker_environment(allow_network=False, inherited={})
    assert strict["HF_HUB_OFFLINE"] == strict["TRANSFORMERS_OFFLINE"] == "1"
    assert strict["ORT_DISABLE_TELEMETRY"] == strict["OPENBLAS_NUM_THREADS"] == "1"
    open_ = worker_environment(allow_network=True, inherited={})
    assert "HF_HUB_OFFLINE" not in open_
    assert open_["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_environment_reaches_the_job(target: LocalTarget) -> None:
    environment = run(target, "facts").value["environment"]
    assert environment["HF_DATASETS_OFFLINE"] == "1"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="fork server")
def test_preloading_brings_the_modules_and_no_thread() -> None:
    with LocalTarget() as target:
        target.warm_up()
        modules = set(run(target, "facts").value["modules"])
        assert {"torch", "transformers", "peft", "onnxruntime", "onnxruntime_genai"} <= modules
        assert "datasets" not in modules
        server = target._launcher.pid
        assert psutil.Process(server).num_threads() == 1
        assert target._launcher.last_words() == ""
        start = time.perf_counter()
        for _ in range(10):
            assert run(target, "add", a=1, b=1).value == 2
        assert (time.perf_counter() - start) / 10 < 0.25  # 0.02 s where nothing else runs


def test_what_is_preloaded_exists_or_is_ours() -> None:
    assert "datasets" not in PRELOADED
    assert len(set(PRELOADED)) == len(PRELOADED)


def test_the_callers_main_script_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from paretune.targets.base import Job\n"
        "from paretune.targets.local import LocalTarget\n"
        "print('once')\n"
        "with LocalTarget(preload=False) as target:\n"
        "    call = {'function': 'math:sqrt', 'args': {}}\n"
        "    print(target.submit(Job('call', call)).result().status)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.split() == ["once", "failed"]
    assert done.stderr == ""


# --- the log ---------------------------------------------------------------------------------


def test_output_is_appended_to_the_log(target: LocalTarget, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("before\n")
    assert run(target, "chatter", log=log, lines=2).value == "done"
    assert run(target, "fail", log=log, message="oh").status is JobStatus.FAILED
    text = log.read_text()
    assert text.startswith("before\nline 0\nline 1\nto stderr\nto descriptor 1\n")
    assert "Traceback" in text
    assert "ValueError: oh" in text


def test_a_crash_leaves_its_stack_and_last_words(target: LocalTarget, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    run(target, "segfault", log=log)
    run(target, "drop_dead", log=log, status=1)
    text = log.read_text()
    assert "Fatal Python error: Segmentation fault" in text
    assert "in segfault" in text
    assert "last words" in text


def test_a_million_lines_neither_block_nor_fill_the_disk(
    target: LocalTarget, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    log.write_text("kept\n")
    assert run(target, "chatter", log=log, lines=1_000_000).value == "done"
    text = log.read_text()
    assert len(text) < 9 << 20
    assert text.startswith("kept\nline 0\nline 1\n")
    assert "bytes left out ...]" in text
    assert text.endswith("line 999999\nto stderr\nto descriptor 1\n")


# --- without a fork server -------------------------------------------------------------------


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_both_ways_to_start_give_the_same(start: Literal["spawn", "fork"], tmp_path: Path) -> None:
    if start == "fork" and sys.platform != "linux":
        pytest.skip("fork server")
    before = set(psutil.Process().children(recursive=True))
    with LocalTarget(start=start, preload=False) as target:
        assert run(target, "add", a=1, b=2).value == 3
        assert run(target, "segfault").reason == "segmentation fault (SIGSEGV)"
        assert run(target, "drop_dead", status=3).reason == "exited with status 3 without a result"
        assert run(target, "spin", limits=Limits(seconds=1)).status is JobStatus.TIMEOUT
        limits = Limits(seconds=30, memory=200 * MB)
        held = run(target, "hold", limits=limits, megabytes=700, seconds=30.0)
        assert held.status is JobStatus.OUT_OF_MEMORY
        pid_file = tmp_path / "pid"
        run(target, "leave_a_forked_child", limits=Limits(seconds=20), pid_file=str(pid_file))
    if start == "spawn":  # documented: what is orphaned between two looks is not found there
        psutil.Process(int(json.loads(pid_file.read_text()))).kill()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_plug_in_on_a_path_that_came_later_is_found(
    target: LocalTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(target, "add", a=1, b=1).value == 2  # the server runs, and has read what there is
    (tmp_path / "late.py").write_text("class Late:\n    pass\n")
    listed = tmp_path / "late-1.dist-info"
    listed.mkdir()
    (listed / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (listed / "entry_points.txt").write_text("[paretune.passes]\nlate = late:Late\n")
    monkeypatch.syspath_prepend(tmp_path)
    payload = {"function": "job_functions:names_of", "args": {"group": "passes"}}
    assert "late" in target.submit(Job("call", payload)).result(60).value
