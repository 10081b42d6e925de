"""Accuracy on several devices: the same bytes are measured on each, as kernels may differ."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_devices import BOARD, HERE, Named, search, write_devices_study

from paretune.core.job import Job, JobResult, JobStatus, Measure

_WRONG_AT_MS = 4.0
"""The model with this time is the one that the other kernels compute less well."""


class OtherKernels(Named):
    """A device that measures another accuracy of one model than this machine does."""

    def submit(self, job: Job) -> Future[JobResult]:
        future = super().submit(job)
        if not isinstance(job.task, Measure):
            return future
        found: Future[JobResult] = Future()
        found.set_running_or_notify_cancel()
        future.add_done_callback(lambda ended: found.set_result(_worse(ended.result())))
        return found


def _worse(result: JobResult) -> JobResult:
    if result.status is not JobStatus.OK:
        return result
    speed = next(m.value for m in result.value if m.metric == "decode_ms_p50")
    if speed != _WRONG_AT_MS:
        return result
    return replace(
        result,
        value=[
            replace(
                m, value=0.5, low=0.49, high=0.51, samples=(0.5,), details={"final": [0.4, 0.6]}
            )
            if m.metric == "accuracy"
            else m
            for m in result.value
        ],
    )


def test_each_device_measures_the_accuracy_of_the_same_model_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast model is right here alone, so that each device gets another pick."""
    fast = {"noop": {"x": 1, "speed": _WRONG_AT_MS, "quality": 0.9}}
    slow = {"noop": {"x": 2, "speed": 6.0, "quality": 0.9}}
    config = write_devices_study(
        tmp_path,
        [HERE, {**BOARD, "threads": [1]}],
        passes=[{"any": [fast, slow]}],
        baseline=[{"noop": {"x": 0, "speed": 8.0, "quality": 0.9}}],
        objectives={"minimize": "decode_ms_p50"},
        constraints=["accuracy >= 0.8"],
        search={"strategy": "exhaustive", "finals": 0},
    )
    results: Any = search(config, monkeypatch, targets={"board": OtherKernels}).results
    here, board = results["devices"]["local"], results["devices"]["board"]
    picked = str(here["best"])
    assert here["metrics"][picked]["accuracy"]["value"] == 0.9
    assert board["metrics"][picked]["accuracy"]["value"] == 0.5
    assert not board["outcomes"][picked]["feasible"]
    assert board["metrics"][picked]["decode_ms_p50"]["value"] == _WRONG_AT_MS, "the same model"
    assert board["best"] not in (here["best"], None)
    assert board["metrics"][str(board["best"])]["accuracy"]["value"] == 0.9
    table = {pick["of"]: pick["on"] for pick in results["picks"]}
    assert not table["local"]["board"]["feasible"], "the one pick does not serve both"
    assert results["one_for_all"]["of"] == "board"
