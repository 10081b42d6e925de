"""A study whose builds are made by several targets."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from fake_devices import HERE, Named, search, write_devices_study

from paretune.core.job import Job, JobResult
from tests.core.test_machines import overlapping


def test_builds_go_to_every_builder_also_for_a_single_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have a slot: after the baseline's, two builds run at once, each on another one."""
    built: list[str] = []
    both = threading.Event()

    class Waits(Named):
        def submit(self, job: Job) -> Future[JobResult]:
            if job.kind == "build":
                built.append(self.name)
                if len(set(built[1:])) == 2:
                    both.set()
                assert len(built) == 1 or both.wait(300)
            return super().submit(job)

    config = write_devices_study(
        tmp_path,
        [{**HERE, "does": "both"}, {"name": "board", "does": "build"}],
        noop={"x": [1, 2, 3, 4]},
        search={"strategy": "exhaustive", "finals": 0},
    )
    results = search(config, monkeypatch, targets={"local": Waits, "board": Waits}).results
    assert {row["outcome"] for row in results["candidates"]} == {"ok"}
    assert len(built) == 5
    assert sorted((tmp_path / "builds").read_text().split()) == list("1234"), "each built once"
    lines = (tmp_path / "study" / "leases.jsonl").read_text().splitlines()
    assert not overlapping([json.loads(line) for line in lines])
    assert search(config, monkeypatch).results["candidates"] == results["candidates"]
