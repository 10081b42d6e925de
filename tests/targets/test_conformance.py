"""What every registered target must do; another package's target can be run through it too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.core.job import Job, JobResult, JobStatus, Limits
from paretune.core.jsontools import canonical
from paretune.core.progress import Progress
from paretune.core.target import Target
from paretune.registry import find, names


@pytest.fixture(params=names("targets"))
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    made: Target = find("targets", request.param)(store_root=tmp_path, preload=False)
    yield made
    made.close()


def call(name: str, **arguments: Any) -> Job:
    return Job("call", {"function": f"job_functions:{name}", "args": arguments})


def test_it_is_a_target(target: Target) -> None:
    assert isinstance(target, Target)


def test_its_facts_are_json_and_its_fingerprint_stays(target: Target) -> None:
    first, second = target.info(), target.info()
    assert first.fingerprint == second.fingerprint
    assert json.loads(canonical(first.to_json()))["fingerprint"] == first.fingerprint
    assert first.cores >= 1
    assert first.memory > 0
    assert "cpu" in first.providers


def test_a_job_gives_its_value(target: Target) -> None:
    result = target.submit(call("add", a=1, b=2)).result(300)
    assert result.status is JobStatus.OK
    assert result.value == 3
    assert result.reason is None
    assert result.seconds > 0
    assert result.peak_memory > 0


def test_jobs_run_side_by_side_and_keep_apart(target: Target) -> None:
    futures = [target.submit(call("add", a=n, b=0)) for n in range(4)]
    assert [future.result(300).value for future in futures] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("segfault", JobStatus.CRASHED),
        ("fail", JobStatus.FAILED),
        ("raise_memory_error", JobStatus.OUT_OF_MEMORY),
    ],
)
def test_a_bad_job_is_a_result_and_the_next_one_runs(
    target: Target, name: str, status: JobStatus
) -> None:
    bad = call(name, **({"message": "no"} if name == "fail" else {}))
    result = target.submit(bad).result(300)
    assert result.status is status
    assert result.reason
    assert result.value is None
    assert target.submit(call("add", a=1, b=1)).result(300).value == 2


def test_an_unknown_kind_of_job_fails_with_the_nearest(target: Target) -> None:
    result = target.submit(Job("biuld", {})).result(300)
    assert result.status is JobStatus.FAILED
    assert "'build'" in (result.reason or "")


def test_a_limit_and_a_cancellation_end_a_job(target: Target) -> None:
    slow = Job("call", call("spin").payload, Limits(seconds=0.5))
    assert target.submit(slow).result(300).status is JobStatus.TIMEOUT
    future = target.submit(call("sleep", seconds=900))
    target.cancel()
    assert future.result(300).status is JobStatus.CANCELLED
    assert target.submit(call("add", a=1, b=1)).result(300).status is JobStatus.OK


def test_closing_twice_is_no_error(target: Target) -> None:
    target.submit(call("add", a=1, b=1)).result(300)
    target.close()
    target.close()


def test_progress_is_optional(target: Target) -> None:
    seen: list[Progress] = []
    job = Job("call", call("add", a=1, b=1).payload, on_progress=seen.append)
    result: JobResult = target.submit(job).result(300)
    assert result.status is JobStatus.OK
    assert seen == []
