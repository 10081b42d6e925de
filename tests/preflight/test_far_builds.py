"""What another machine may build: what this one would build, and nothing that lies here only."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fake_study import write_fake_study

from paretune.config import load
from paretune.core.candidate import Candidate
from paretune.core.device import TargetInfo
from paretune.core.errors import ConnectionLostError, TargetLostError, UsageError
from paretune.core.job import Call, Job, JobResult, JobStatus
from paretune.data.catalog import DataCatalog
from paretune.preflight.far_builds import check_far_builds, differences
from paretune.targets.worker.pass_identities import pass_identities


@dataclass
class Builder:
    """A builder that says what it is told to say."""

    said: Any = None
    status: JobStatus = JobStatus.OK
    lost: int = 0
    """How many jobs it is lost in."""
    asked: list[Call] = field(default_factory=list)

    def info(self) -> TargetInfo:
        return TargetInfo("big")

    def submit(self, job: Job) -> Future[JobResult]:
        assert isinstance(job.task, Call)
        self.asked.append(job.task)
        future: Future[JobResult] = Future()
        result = JobResult(self.status, self.said, "no such module")
        if self.lost:
            self.lost -= 1
            error = ConnectionLostError("the connection to big was lost")
            result = JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
        future.set_result(result)
        return future

    def cancel(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        """Nothing is held."""


def test_what_is_the_same_differs_in_nothing() -> None:
    names = ["genai", "noop", "onnx_dynamic_int8"]
    here = pass_identities(names)
    assert here["onnx_dynamic_int8"].keys() == {"pass", "package onnxruntime", "package onnx"}
    assert here["noop"].keys() >= {"pass", "code", "distribution"}
    builder = Builder(here)
    assert differences(builder, names) == []
    assert builder.asked[0].args == {"names": names}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"pass": "version 2"}, ["noop: pass is version 2 there, version 1 here"]),
        ({"package torch": "2.1"}, ["noop: package torch is 2.1 there, absent here"]),
        ({"code": None}, ["noop: code is absent there, {'code'"]),
    ],
)
def test_what_differs_is_named(said: dict[str, Any], told: list[str]) -> None:
    there = {**pass_identities(["noop"])["noop"], **said}  # type: ignore[dict-item]
    found = differences(Builder({"noop": {k: v for k, v in there.items() if v}}), ["noop"])
    assert len(found) == len(told)
    assert all(text.startswith(start) for text, start in zip(found, told, strict=True))


@pytest.mark.parametrize("said", [None, 3, {}, {"noop": 3}, {"noop": {}}])
def test_an_answer_that_is_none_differs(said: Any) -> None:
    assert differences(Builder(said), ["noop"])


def test_a_builder_on_which_the_check_fails() -> None:
    with pytest.raises(UsageError, match="the job failed: no such module") as caught:
        differences(Builder(status=JobStatus.FAILED), ["noop"])
    assert "doctor" in (caught.value.hint or "")


def test_a_builder_that_is_lost_during_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again; if it is lost each time, that is not a matter of versions."""
    monkeypatch.setattr("paretune.search.lost_targets.time.sleep", lambda seconds: None)
    builder = Builder(pass_identities(["noop"]), lost=1)
    assert differences(builder, ["noop"]) == []
    assert len(builder.asked) == 2
    with pytest.raises(TargetLostError, match="the connection to big was lost") as caught:
        differences(Builder(lost=9), ["noop"])
    assert "versions" not in (caught.value.hint or "")


def test_a_pass_that_is_not_installed_says_so() -> None:
    assert pass_identities(["nope"])["nope"]["pass"].startswith("cannot be loaded: no pass")


def check(folder: Path, noop: dict[str, Any], **config: Any) -> None:
    plan = load(write_fake_study(folder, noop, **config))
    runtime = replace(plan.space.runtimes_of("hf").at(0), threads=1)
    candidates = [Candidate(plan.baseline or (), runtime)]
    builder = Builder(pass_identities(["noop"]))
    check_far_builds(plan, candidates, builder, DataCatalog(plan.data, plan.root))


def test_a_study_whose_passes_read_what_travels(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"q": "a", "a": "b"}\n')
    check(tmp_path / "a", {"x": [1, 2]})
    data = {"qa": {"file": str(rows), "prompt": "{q}", "answer": "{a}"}}
    check(tmp_path / "b", {"x": 1, "train": "qa"}, data=data)


def test_a_file_that_a_parameter_names_does_not_travel(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("x")
    with pytest.raises(UsageError, match=r"pass noop: its file .*words.txt' .* 'big' builds"):
        check(tmp_path / "a", {"x": 1, "template": str(tmp_path / "words.txt")})


def test_a_data_set_without_a_file_does_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"q": "a", "a": "b"}\n')
    data = {"qa": {"file": str(rows), "prompt": "{q}", "answer": "{a}"}}
    monkeypatch.setattr(DataCatalog, "files", lambda catalog, ref: ())  # as one of the hub
    with pytest.raises(UsageError, match=r"pass noop: the data set 'qa' .* 'big' builds"):
        check(tmp_path / "a", {"x": 1, "train": "qa"}, data=data)
