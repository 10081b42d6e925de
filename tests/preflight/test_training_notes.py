"""A slow training precision is told in the dry run and at the start, before it is used."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.api import optimize
from paretune.config import Plan, load
from paretune.core.candidate import Candidate, RuntimeSettings
from paretune.core.job import Job, JobResult, JobStatus
from paretune.passes.lora import precision as training_precision
from paretune.preflight.dry_run import foresee
from paretune.preflight.training_notes import precisions, training_notes
from paretune.targets.launchers.local import LocalTarget
from tests.tiny_models import make_tiny_llama

BASELINE = Candidate((), RuntimeSettings("cpu", 1))


def _plan(folder: Path, *passes: Any) -> Plan:
    if not (folder / "model").is_dir():
        make_tiny_llama(folder / "model")
    (folder / "texts.jsonl").write_text('{"text": "once upon a time"}\n' * 4)
    file = folder / "study.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "model": "model",
                "data": {"texts": {"file": "texts.jsonl", "text": "{text}"}},
                "passes": [*passes],
                "evaluate": [{"perplexity": {"data": "texts"}}],
                "objectives": {"minimize": "perplexity"},
                "search": {"trials": 1},
            }
        )
    )
    return load(file)


class _Answers:
    """A target that notes its jobs and answers all the same."""

    def __init__(self, result: JobResult) -> None:
        self.jobs: list[Job] = []
        self._result = result

    def submit(self, job: Job) -> Future[JobResult]:
        self.jobs.append(job)
        done: Future[JobResult] = Future()
        done.set_result(self._result)
        return done


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"lora": {"train": "texts"}}], {"fp32"}),
        ([{"lora": {"train": "texts", "dtype": ["fp32", "bf16"]}}], {"fp32", "bf16"}),
        ([{"qlora": {"train": "texts", "compute_dtype": "bf16"}}], {"fp32", "bf16"}),
        ([{"qlora": {"train": "texts", "quant_type": "int8"}}], {"fp32"}),
        ([{"lora": {"train": "texts", "max_steps": 1, "epochs": [1], "dtype": "bf16"}}], set()),
        ([{"genai": {"precision": "fp32"}}], set()),
    ],
)
def test_precisions_of_a_plan(tmp_path: Path, steps: list[Any], expected: set[str]) -> None:
    plan = _plan(tmp_path, *steps, *([] if "genai" in steps[0] else ["merge"]))
    assert precisions(plan, BASELINE) == expected


def test_nothing_is_timed_where_all_is_fp32(tmp_path: Path) -> None:
    target: Any = _Answers(JobResult(JobStatus.OK, value=[]))
    plan = _plan(tmp_path, {"lora": {"train": "texts"}}, "merge")
    assert training_notes(plan, BASELINE, target) == ()
    assert not target.jobs


def test_what_could_not_be_timed_is_said(tmp_path: Path) -> None:
    target: Any = _Answers(JobResult(JobStatus.TIMEOUT, reason="120 s are over"))
    plan = _plan(tmp_path, {"lora": {"train": "texts", "dtype": "bf16"}}, "merge")
    (note,) = training_notes(plan, BASELINE, target)
    assert "bf16" in note
    assert "120 s are over" in note


def test_notes_of_a_slow_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        training_precision, "precision_note", lambda dtype, device: f"{dtype} is slow"
    )
    assert training_precision.notes(["bf16"]) == ["bf16 is slow"]


def test_this_device_is_timed_in_a_job_and_the_dry_run_and_the_search_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(tmp_path, {"lora": {"train": "texts", "dtype": "bf16", "max_steps": 1}}, "merge")
    with LocalTarget() as target:
        measured = training_notes(plan, BASELINE, target)
    assert all("slower than fp32" in note for note in measured)  # none on a processor with bf16
    # What the device says is its own; what is done with it is the same everywhere.
    monkeypatch.setattr(
        "paretune.preflight.told_before.training_notes", lambda *_: ("bf16 is slow here",)
    )
    assert "bf16 is slow here" in foresee(plan.file, store=tmp_path / "store")["notes"]
    result = optimize(plan.file, study=tmp_path / "study", store=tmp_path / "store")
    assert "bf16 is slow here" in json.loads((result.study / "results.json").read_text())["notes"]
