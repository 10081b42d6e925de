"""Real workers, and a real small model that is made in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.core.job import Job, JobResult, Limits, task_from_json
from paretune.data.catalog import DataCatalog
from paretune.targets.launchers.local import LocalTarget

Run = Callable[..., JobResult]


@pytest.fixture(scope="session")
def run_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return a function that runs a job in a worker, as a search does: ``run_job(kind, ...)``."""
    with pytest.MonkeyPatch.context() as patch:
        # Where transformers copies a model's code to before it runs it.
        patch.setenv("HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        data = DataCatalog({}, tmp_path_factory.mktemp("data")).to_json()
        shared = {
            "runtime": {"provider": "cpu", "threads": 1},
            "provider": "cpu",
            "rung": "full",
            "data": data,
        }
        with LocalTarget() as target:

            def run(kind: str, log: Path | None = None, **payload: Any) -> JobResult:
                task = task_from_json({"kind": kind, **shared, **payload})
                job = Job(task, Limits(seconds=120.0), log=log)
                return target.submit(job).result()

            yield run


@pytest.fixture(scope="session")
def llama(run_job: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama of random weights."""
    folder = tmp_path_factory.mktemp("llama") / "model"
    place = "tests.security.hostile:write_llama"
    made = run_job("call", function=place, args={"folder": str(folder)})
    assert made.status == "ok", made.reason
    return folder
