"""What every target keeps to."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.job import Call, Job, JobResult, JobStatus, Limits, TurnsEndedError
from paretune.core.jsontools import Json, canonical
from paretune.core.progress import Progress
from paretune.core.target import Interleaves, Target
from paretune.registry import find
from paretune.testing.declared import follows

_ENDS_S = 300
"""Seconds after which a job that has to end has not."""


def check_target(name: str, **options: Any) -> None:
    """Check a registered target: what runs on it, and what becomes of jobs that go wrong.

    Args:
        name: As it is registered.
        **options: What it is made with, beside its store.

    Raises:
        AssertionError: Something that every target keeps to does not hold.
    """
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        target: Target = find("targets", name)(store_root=Path(folder), **options)
        try:
            follows(target, Target, name)
            for law in TARGET_LAWS:
                law(target)
        finally:
            target.close()


def call(name: str, limit_s: float | None = None, **arguments: Json) -> Job:
    """Return the job that calls a function of `paretune.testing.jobs`.

    Args:
        name: The function.
        limit_s: Seconds after which the job is ended; None: no limit.
        **arguments: What it is called with.
    """
    return Job(Call(f"paretune.testing.jobs:{name}", arguments), Limits(seconds=limit_s))


def _ended(target: Target, job: Job, status: JobStatus) -> JobResult:
    result = target.submit(job).result(_ENDS_S)
    assert result.status is status, f"{job.task}: {status} expected, {result} came"
    return result


def _still_works(target: Target) -> None:
    assert _ended(target, call("add", a=1, b=1), JobStatus.OK).value == 2, "1 + 1 is 2"


def facts_stay(target: Target) -> None:
    """Require that its facts are JSON, and that its fingerprint stays."""
    first, second = target.info(), target.info()
    assert first.fingerprint == second.fingerprint, "asked twice, it has another fingerprint"
    read = json.loads(canonical(first.to_json()))
    assert read["fingerprint"] == first.fingerprint, "the fingerprint does not survive JSON"
    assert first.cores >= 1, f"it has {first.cores} cores"
    assert first.memory > 0, f"it has {first.memory} bytes of memory"
    assert "cpu" in first.providers, f"no provider cpu in {first.providers}"


def gives_values(target: Target) -> None:
    """Require that a job's value comes back, with its time and memory."""
    result = _ended(target, call("add", a=1, b=2), JobStatus.OK)
    assert result.value == 3, f"1 + 2 came back as {result.value!r}"
    assert result.reason is None, f"a job that worked has a reason: {result.reason}"
    assert result.seconds > 0, "a job takes time"
    assert result.peak_memory > 0, "a job takes memory"


def keeps_jobs_apart(target: Target) -> None:
    """Require that jobs that are submitted together give each its own value."""
    futures = [target.submit(call("add", a=n, b=0)) for n in range(4)]
    values = [future.result(_ENDS_S).value for future in futures]
    assert values == [0, 1, 2, 3], f"values came as {values}"


def survives(target: Target) -> None:
    """Require that a bad job is a result with its reason, and that the next one runs."""
    for job, status in (
        (call("segfault"), JobStatus.CRASHED),
        (call("fail", message="no"), JobStatus.FAILED),
        (call("raise_memory_error"), JobStatus.OUT_OF_MEMORY),
    ):
        result = _ended(target, job, status)
        assert result.reason, f"{status} comes without a reason"
        assert result.value is None, f"{status} comes with the value {result.value!r}"
        _still_works(target)


def names_unknown_functions(target: Target) -> None:
    """Require that a call of an unknown function fails, and that the reason names it."""
    result = _ended(target, call("ad", a=1, b=1), JobStatus.FAILED)
    assert "'ad'" in (result.reason or ""), f"the function is not named: {result.reason}"


def ends_jobs(target: Target) -> None:
    """Require that a limit and a cancellation end a job, and that the next one runs."""
    _ended(target, call("spin", 0.5), JobStatus.TIMEOUT)
    future = target.submit(call("sleep", seconds=900))
    target.cancel()
    result = future.result(_ENDS_S)
    assert result.status is JobStatus.CANCELLED, f"cancelled, it ended as {result}"
    _still_works(target)


def limits_memory(target: Target) -> None:
    """Require that a job which holds more memory than its limit is ended, and that it says so."""
    job = replace(call("hold", megabytes=600, seconds=900), limits=Limits(memory=200_000_000))
    result = _ended(target, job, JobStatus.OUT_OF_MEMORY)
    assert "limit of 200 MB" in (result.reason or ""), f"the limit is not named: {result.reason}"
    assert result.peak_memory > 200_000_000, f"{result.peak_memory} bytes are within the limit"


def interleaves(target: Target) -> None:
    """Require that a target which interleaves does so, and that a crash ends all of the jobs."""
    if not isinstance(target, Interleaves):
        return
    order, seconds = random.Random(0), float(_ENDS_S)
    results = target.interleave([call("add", a=n, b=0) for n in range(3)], order, seconds)
    values = [result.value for result in results]
    assert values == [0, 1, 2], f"values came as {values}"
    try:
        target.interleave([call("add", a=1, b=1), call("segfault")], order, seconds)
    except TurnsEndedError as ended:
        found = ended.number, ended.result.status
        assert found == (1, JobStatus.CRASHED), f"job 1 crashed; the error says {found}"
    else:
        raise AssertionError("a job crashed among others, and no error was raised")
    _still_works(target)


def needs_no_progress(target: Target) -> None:
    """Require that a job without signs of life reports none."""
    seen: list[Progress] = []
    job = call("add", a=1, b=1)
    _ended(target, replace(job, on_progress=seen.append), JobStatus.OK)
    assert not seen, f"progress of a job that reports none: {seen}"


def closes_twice(target: Target) -> None:
    """Require that it can be closed twice."""
    _still_works(target)
    target.close()
    target.close()


TARGET_LAWS = (
    facts_stay,
    gives_values,
    keeps_jobs_apart,
    survives,
    names_unknown_functions,
    ends_jobs,
    limits_memory,
    interleaves,
    needs_no_progress,
    closes_twice,
)
"""What is required of every target; the last one closes it."""
