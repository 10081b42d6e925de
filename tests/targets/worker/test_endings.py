"""A training whose process ends from outside: the next one continues it, to the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paretune.core.candidate import Step
from paretune.core.job import Build, Call, Job, JobStatus
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.catalog import DataCatalog, DataSpec
from paretune.runtimes import matrix_products
from paretune.store.artifacts import Store
from paretune.store.checkpoints import kept
from paretune.targets.launchers import process
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.worker import building, endings

# peft 0.21 asks for a property that transformers 5.23 renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def _one_kind_of_products() -> Iterator[None]:
    """Which library is quicker is timed, and may come out differently on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_products, "one_dnn_gain", lambda: 1.0)
        yield


CHILD = """
import json, os, sys
from paretune.core.job import task_from_json
from paretune.store import checkpoints
from paretune.runtimes import matrix_products
from paretune.targets.worker import building, endings

matrix_products.one_dnn_gain = lambda: 1.0
task, number, often = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "often"
if often:
    checkpoints.EVERY_S, checkpoints.SHARE = 0.0, 1e9
endings.heed()

def report(progress):
    if progress.step == "lora" and progress.done == 3:
        os.kill(os.getpid(), number)

try:
    building.build(task_from_json(task), report)
except endings.TerminatedError:
    endings.die()
"""


@pytest.fixture(scope="module")
def task_in(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Build]:
    root = tmp_path_factory.mktemp("data")
    (root / "d.jsonl").write_text(
        "".join(json.dumps({"text": f"sun {i} " + "road " * (i % 4)}) + "\n" for i in range(10))
    )
    data = DataCatalog({"d": DataSpec(file="d.jsonl", text="{text}")}, root).to_json()
    params = {"train": "d", "r": 2, "batch_size": 2, "dropout": 0.3, "max_steps": STEPS}
    step = Step("lora", params)
    return lambda store: Build(
        model=tiny, recipe=(step,), provider="cpu", store=store, data=data, study=None
    )


@pytest.fixture(scope="module")
def uninterrupted(
    task_in: Callable[[Path], Build], tmp_path_factory: pytest.TempPathFactory
) -> str:
    built = building.build(task_in(tmp_path_factory.mktemp("whole")), lambda progress: None)
    assert built.steps[0].resumed == 0.0
    return built.model.digest


@pytest.mark.parametrize(
    ("number", "often", "place"), [(signal.SIGKILL, "often", 2), (signal.SIGTERM, "rarely", 4)]
)
def test_the_next_process_continues_to_the_same_bytes(
    tmp_path: Path,
    task_in: Callable[[Path], Build],
    uninterrupted: str,
    number: signal.Signals,
    often: str,
    place: int,
) -> None:
    """Killed in step 3 it has the state of step 2; asked to end then, it saves that of step 4."""
    task = task_in(tmp_path)
    told = [json.dumps(task.to_json()), str(int(number)), often]
    child = subprocess.run([sys.executable, "-c", CHILD, *told], check=False, capture_output=True)
    assert child.returncode == -number, child.stderr.decode()
    assert [run.places for run in kept(Store(tmp_path))] == [(place,)]
    steps: list[Progress] = []
    built = building.build(task, steps.append)
    assert built.model.digest == uninterrupted
    assert built.steps[0].resumed == place / STEPS
    assert [p.done for p in steps if p.note.startswith("loss")] == list(range(place + 1, STEPS + 1))
    assert kept(Store(tmp_path)) == []
    again = building.build(task, steps.append)
    assert (again.steps[0].cached, again.steps[0].resumed) == (True, place / STEPS)


def wait_and_save(ready: str, saved: str) -> str:
    """Run in a worker: when it is asked to end, it takes longer than other jobs may."""
    with endings.waiting() as asked:
        Path(ready).touch()
        while not asked():
            time.sleep(0.01)
        time.sleep(2.5)
        Path(saved).touch()
    return "unreachable"


@pytest.mark.parametrize("late", [False, True])
def test_what_saves_its_state_is_given_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Also if its word that it does so is read after the request to end."""
    read = process.JobRun._read

    def read_late(run: process.JobRun, descriptor: int) -> None:
        if late:
            run._cancelled.wait(60)
            time.sleep(0.5)
        read(run, descriptor)

    monkeypatch.setattr(process.JobRun, "_read", read_late)
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    args = {"ready": str(ready), "saved": str(saved)}
    with LocalTarget(store_root=tmp_path / "store") as target:
        future = target.submit(Job(Call(f"{__name__}:wait_and_save", args)))
        while not ready.exists():
            time.sleep(0.01)
        target.cancel(future)
        assert future.result().status is JobStatus.CANCELLED
    assert saved.exists()
