"""How a job can end, and its limits."""

from __future__ import annotations

import math
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from local_jobs import MB, run

from paretune.core.job import JobStatus, Limits
from paretune.targets.launchers.local import LocalTarget

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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL", "SIGUSR1"])
def test_a_signal_from_outside_is_no_fact_about_the_job(
    target: LocalTarget, tmp_path: Path, name: str
) -> None:
    """Whatever a library makes of it: here everything that is raised is caught."""
    number = int(getattr(signal, name))
    result = run(target, "end_from_outside", number=number, ready=str(tmp_path / "ready"))
    assert (result.status, result.transient) == (JobStatus.CRASHED, True), result.reason
    assert name in (result.reason or "")


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"])
def test_a_fault_of_its_own_is_one(target: LocalTarget, name: str) -> None:
    result = run(target, "kill_self", number=int(getattr(signal, name)))
    assert (result.status, result.transient) == (JobStatus.CRASHED, False)


def test_a_helper_process_that_was_ended_is_no_fact_either(target: LocalTarget) -> None:
    result = run(target, "lose_a_helper", number=int(signal.SIGTERM))
    assert (result.status, result.transient) == (JobStatus.FAILED, True), result.reason
    result = run(target, "lose_a_helper", number=int(signal.SIGSEGV))
    assert (result.value, result.transient) == ("segmentation fault (SIGSEGV)", False)


def test_the_limits_in_force_come_back(target: LocalTarget) -> None:
    result = run(target, "sleep", seconds=60, limits=Limits(0.2, None))
    assert result.status is JobStatus.TIMEOUT
    assert result.limits.seconds == 0.2
    assert result.limits.memory, "the target's own"


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
        target, "raise_from", module="paretune.core.errors", name=name, message="does not load: x"
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
    result = run(target, "spin", limits=Limits(seconds=1.0))
    assert result.status is JobStatus.TIMEOUT
    assert result.reason == "still running after its time limit of 1 s"
    assert result.seconds >= 1.0


def test_a_job_that_ignores_sigterm_is_killed(target: LocalTarget, tmp_path: Path) -> None:
    start = time.monotonic()
    ready = tmp_path / "ready.flag"
    result = run(target, "ignore_sigterm", limits=Limits(seconds=5.0), ready=str(ready))
    assert ready.exists()
    assert result.status is JobStatus.TIMEOUT
    assert time.monotonic() - start >= 7.0  # the limit, then two seconds to clean up


def test_a_job_that_is_ended_may_clean_up(target: LocalTarget, tmp_path: Path) -> None:
    sign = tmp_path / "cleaned"
    result = run(target, "clean_up_when_ended", limits=Limits(seconds=5.0), sign=str(sign))
    assert result.status is JobStatus.TIMEOUT
    assert sign.exists()


def test_a_memory_overrun_is_told_with_both_numbers(target: LocalTarget) -> None:
    result = run(
        target, "hold", limits=Limits(seconds=300, memory=200 * MB), megabytes=700, seconds=30.0
    )
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert result.peak_memory > 200 * MB
    shown = f"held {result.peak_memory / MB:.0f} MB of memory, more than its limit of 200 MB"
    assert result.reason == shown


def test_the_memory_of_descendants_counts(target: LocalTarget) -> None:
    result = run(
        target, "grow_in_a_child", limits=Limits(seconds=300, memory=200 * MB), megabytes=400
    )
    assert result.status is JobStatus.OUT_OF_MEMORY


def test_memory_below_the_limit_is_measured(target: LocalTarget) -> None:
    result = run(target, "hold", limits=Limits(memory=900 * MB), megabytes=300, seconds=5.0)
    assert result.value == 300 * MB
    assert 300 * MB < result.peak_memory < 420 * MB


def test_without_a_limit_a_share_of_free_memory_is_the_limit(
    target: LocalTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.targets.launchers.local.free_memory", lambda: 300 * MB)
    result = run(target, "hold", megabytes=400, seconds=30.0)
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert "its limit of 270 MB" in (result.reason or "")


def test_the_memory_of_many_children_is_added_up(target: LocalTarget) -> None:
    limits = Limits(seconds=300, memory=400 * MB)
    result = run(target, "grow_in_many_children", limits=limits, children=8, megabytes=80)
    assert result.status is JobStatus.OUT_OF_MEMORY
    assert "limit of 400 MB" in (result.reason or "")


# --- whose fault it was ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "transient"),
    [
        ("kill_self", {"number": 9}, True),  # nobody does that to himself
        ("kill_self", {"number": 15}, True),
        ("kill_self", {"number": 6}, False),
        ("kill_server", {}, True),
        ("segfault", {}, False),
        ("drop_dead", {"status": 3}, False),
        ("fail", {"message": "no"}, False),
    ],
)
def test_only_what_came_from_outside_is_transient(
    target: LocalTarget, name: str, arguments: dict[str, Any], transient: bool
) -> None:
    assert run(target, name, **arguments).transient is transient


@pytest.mark.parametrize(("held_by_others", "transient"), [(0.1, False), (0.6, True)])
def test_memory_is_short_if_others_hold_it(
    target: LocalTarget, monkeypatch: pytest.MonkeyPatch, held_by_others: float, transient: bool
) -> None:
    total = 400 * MB
    monkeypatch.setattr("paretune.targets.launchers.local.total_memory", lambda: total)
    monkeypatch.setattr(
        "paretune.targets.launchers.local.free_memory", lambda: int((1 - held_by_others) * total)
    )
    over = run(target, "hold", megabytes=700, seconds=30.0)
    assert (over.status, over.transient) == (JobStatus.OUT_OF_MEMORY, transient)
    assert run(target, "raise_memory_error").transient is transient


def test_a_limit_of_the_users_own_is_never_transient(target: LocalTarget) -> None:
    limits = Limits(seconds=300, memory=200 * MB)
    assert not run(target, "hold", limits=limits, megabytes=700, seconds=30.0).transient


def test_a_device_without_room_is_a_full_disk(target: LocalTarget) -> None:
    result = run(target, "fill_the_disk", folder="/dev/full")
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert result.reason == "the disk is full: OSError: [Errno 28] No space left on device"


def test_a_real_small_file_system_that_fills_up(target: LocalTarget, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems may not be mounted here")
    try:
        result = run(target, "fill_the_disk", folder=str(tmp_path))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert "the disk is full" in (result.reason or "")


def test_a_file_size_limit_is_no_full_disk(target: LocalTarget, tmp_path: Path) -> None:
    result = run(target, "exceed_a_file_size", folder=str(tmp_path))
    assert (result.status, result.transient) == (JobStatus.FAILED, False)
    assert result.reason == "OSError: [Errno 27] File too large"
