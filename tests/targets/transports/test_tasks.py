"""Tasks run on another machine from what travels alone: nothing of this machine is there."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from paretune.config import load
from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Measure
from paretune.core.permissions import Permissions
from paretune.core.stamps import take
from paretune.data.catalog import DataCatalog
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.study.inputs import gather
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import Describer, files_of, localized
from paretune.targets.worker.measuring import measure
from tests.file_rows import ROWS, write_inputs

EVALUATORS = [
    {"recognition": {"data": "rows.test", "postprocess": "inner/../post.py:answer"}},
    {"agreement": {"data": "rows.test"}},
]


@contextmanager
def elsewhere(folder: Path, task: Measure, name: str) -> Iterator[Any]:
    """Yield a task as it is on a machine to which its files were sent, and that has no other."""
    described = Describer().described(task)
    stream = io.BytesIO()
    send(tuple(files_of(described).values()), stream, {})
    stream.seek(0)
    store = FileStore(folder / name)
    store.receive(stream)
    shutil.move(folder / "here", folder / "gone")
    try:
        with localized(described, store) as there:
            yield there
    finally:
        shutil.move(folder / "gone", folder / "here")


@pytest.fixture
def tasks(tmp_path: Path) -> list[Measure]:
    """Measurements on arrays: by a function that imports a module beside it, by the baseline."""
    here = tmp_path / "here"
    (here / "inner").mkdir(parents=True)
    write_inputs(here)
    config = {
        "model": "network",
        "data": {"rows": ROWS},
        "evaluate": EVALUATORS,
        "objectives": {"maximize": "exact_match"},
    }
    (here / "c.yaml").write_text(json.dumps(config))
    plan = load(here / "c.yaml", trust_remote_code=True)
    catalog = DataCatalog(plan.data, plan.root, trust_remote_code=True)
    model = open_model(plan.model)
    inputs = gather(plan, model, catalog, [])
    refs = ("rows.test", "rows.confirm")
    for ref in refs:
        inputs.add_copy(f"data {ref}", take(catalog.keep(ref, here / "study")))
    package = lay_out(model, RuntimeSettings("cpu", 1), here / "package", link=False)
    return [
        Measure(
            model=package,
            runtime=RuntimeSettings("cpu", 1),
            evaluator=choice.name,
            params={**choice.params, "data": ref},
            reference=model,
            data=catalog.to_json(),
            inputs=inputs.entries(f"evaluator {number}", f"data {ref}"),
            permissions=Permissions(remote_code=True),
        )
        for number, (choice, ref) in enumerate(zip(plan.evaluators, refs[::-1], strict=True))
    ]


def test_arrays_functions_and_the_baseline_travel(tmp_path: Path, tasks: list[Measure]) -> None:
    for number, task in enumerate(tasks):
        right = [m.to_json() for m in measure(task, lambda _: None)]
        with elsewhere(tmp_path, task, f"far-{number}") as there:
            own = [there.params, there.data["kept"][task.params["data"]]]
            assert str(tmp_path / "here") not in json.dumps(own)
            found = [m.to_json() for m in measure(there, lambda _: None)]
        assert found == right
        assert {m["value"] for m in found} - {None}


def test_the_files_that_rows_and_functions_name_stay(tasks: list[Measure]) -> None:
    names = {file.path.name for file in files_of(Describer().described(tasks[0])).values()}
    assert "rows.jsonl" not in names
    assert "steps.py" not in names
    assert {"post.py", "of.py", "model.onnx"} <= names
