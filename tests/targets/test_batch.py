"""Jobs in a folder: what they need comes by digest, what they gave lies in another folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from paretune import __version__
from paretune.core import protocol
from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import UsageError
from paretune.core.job import (
    Build,
    BuildResult,
    Call,
    JobStatus,
    Limits,
    Measure,
    Task,
    task_from_json,
)
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.targets.batch import run
from paretune.targets.transports.tasks import Describer, files_of
from tests.onnx_networks import write_network

JOBS = "paretune.testing.jobs"
_WIDTH = 20_000  # its weights are larger than 1 MiB
DATA = {"specs": {}, "root": ".", "allow_network": False}


@pytest.fixture
def network(tmp_path: Path) -> Model:
    return open_model(write_network(tmp_path / "network", width=_WIDTH))


def call(name: str, **arguments: object) -> Call:
    return Call(f"{JOBS}:{name}", arguments)


def measure(model: Model, threads: int = 1) -> Measure:
    return Measure(
        model=model,
        runtime=RuntimeSettings("cpu", threads),
        evaluator="latency",
        params={"shapes": {"x": [1, _WIDTH]}},
        rung=Rung.ROUGH,
        data=DATA,
    )


def build(model: Model, folder: Path) -> Build:
    step = Step("onnx_dynamic_int8", {})
    return Build(model=model, recipe=(step,), provider="cpu", store=folder / "far", data=DATA)


def written(
    folder: Path,
    tasks: Sequence[Task],
    *,
    turns: Sequence[int] = (),
    limits: Limits = Limits(),
    shared: bool = False,
) -> Path:
    """Write tasks and their files as the side that submits them does; returns the folder."""
    place = folder / "in"
    (place / "files").mkdir(parents=True)
    hello = protocol.Hello(protocol.VERSION, shared=shared)
    lines = [hello.line()]
    describer = Describer()
    for number, task in enumerate(tasks, start=1):
        described = task if shared else describer.described(task)
        for digest, file in files_of(described).items():
            shutil.copyfile(file.path, place / "files" / digest)
        message = protocol.Run(number, described.to_json(), limits, number in turns)
        lines.append(message.line())
    (place / "jobs.jsonl").write_bytes(b"".join(lines))
    return place


def results(folder: Path) -> dict[int, protocol.Result]:
    first, *others = map(protocol.read, (folder / "results.jsonl").read_bytes().splitlines())
    assert isinstance(first, protocol.Described)
    assert (first.version, first.protocol) == (__version__, protocol.VERSION)
    assert first.device.cores >= 1
    found = {message.id: message for message in others if isinstance(message, protocol.Result)}
    assert len(found) == len(others)
    return found


def test_each_job_has_its_result_whatever_became_of_the_others(tmp_path: Path) -> None:
    tasks = [
        call("add", a=1, b=2),
        call("segfault"),
        call("fail", message="no"),
        call("nothing_of_that_name"),
        call("add", a=2, b=2),
    ]
    run(written(tmp_path, tasks), tmp_path / "out")
    found = results(tmp_path / "out")
    assert [found[n].status for n in range(1, 6)] == [
        JobStatus.OK,
        JobStatus.CRASHED,
        JobStatus.FAILED,
        JobStatus.FAILED,
        JobStatus.OK,
    ]
    assert [found[n].value for n in (1, 5)] == [3, 4]
    assert "no" in str(found[3].reason)
    assert found[1].peak_memory > 0


def test_a_limit_ends_a_job(tmp_path: Path) -> None:
    run(written(tmp_path, [call("spin")], limits=Limits(seconds=0.5)), tmp_path / "out")
    (found,) = results(tmp_path / "out").values()
    assert found.status is JobStatus.TIMEOUT
    assert found.limits.seconds == 0.5


def test_a_model_comes_by_digest_and_is_measured(tmp_path: Path, network: Model) -> None:
    place = written(tmp_path, [measure(network)])
    shutil.rmtree(network.path)
    before = sorted(path.name for path in place.rglob("*"))
    run(place, tmp_path / "out")
    (found,) = results(tmp_path / "out").values()
    assert found.status is JobStatus.OK, found.reason
    measured = {each.metric: each for each in measure(network).value_from_json(found.value)}
    assert measured["latency_ms_p50"].value > 0
    assert found.interference is not None
    assert sorted(path.name for path in place.rglob("*")) == before, "nothing is written there"


def test_what_was_built_comes_back_by_digest(tmp_path: Path, network: Model) -> None:
    task = build(network, tmp_path)
    run(written(tmp_path, [task]), tmp_path / "out")
    (found,) = results(tmp_path / "out").values()
    assert found.status is JobStatus.OK, found.reason
    built = task.value_from_json(found.value)
    assert isinstance(built, BuildResult)
    assert built.model.files
    back = tmp_path / "back"
    for file in built.model.files:
        source = tmp_path / "out" / "files" / file.sha256
        assert hashlib.sha256(source.read_bytes()).hexdigest() == file.sha256
        (back / file.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, back / file.name)
    assert open_model(back).digest == built.model.digest
    assert not (tmp_path / "far").exists(), "the store of the other side"


def test_jobs_with_turns_are_interleaved(tmp_path: Path, network: Model) -> None:
    tasks = [measure(network), call("add", a=1, b=1), measure(network, 2)]
    run(written(tmp_path, tasks, turns=(1, 3)), tmp_path / "out")
    found = results(tmp_path / "out")
    assert list(found) == [1, 3, 2], "together, when the first of them comes"
    assert all(result.status is JobStatus.OK for result in found.values()), found


def test_whoever_ends_before_its_turns_ends_it_for_all(tmp_path: Path, network: Model) -> None:
    tasks = [measure(network), call("fail", message="no")]
    run(written(tmp_path, tasks, turns=(1, 2)), tmp_path / "out")
    found = results(tmp_path / "out")
    assert found[2].status is JobStatus.FAILED
    assert found[1].status is JobStatus.CANCELLED
    assert "job 2, with which it was interleaved" in str(found[1].reason)


@pytest.mark.parametrize("damage", ["absent", "other"])
def test_a_file_that_did_not_come_is_the_jobs_end(
    tmp_path: Path, network: Model, damage: str
) -> None:
    place = written(tmp_path, [measure(network), call("add", a=1, b=1)])
    largest = max((place / "files").iterdir(), key=lambda path: path.stat().st_size)
    if damage == "absent":
        largest.unlink()
    else:
        largest.write_bytes(bytes(largest.stat().st_size))
    run(place, tmp_path / "out")
    found = results(tmp_path / "out")
    assert found[1].status is JobStatus.FAILED
    assert largest.name[:12] in str(found[1].reason)
    assert found[1].transient == (damage == "other")
    assert found[2].value == 2


def test_a_shared_folder_is_used_as_it_is(tmp_path: Path, network: Model) -> None:
    place = written(tmp_path, [build(network, tmp_path), measure(network)], shared=True)
    run(place, tmp_path / "out")
    found = results(tmp_path / "out")
    assert [found[n].status for n in (1, 2)] == [JobStatus.OK] * 2, found
    assert (tmp_path / "far" / "objects").is_dir()
    assert not list((tmp_path / "out" / "files").iterdir())


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "expected hello in the first line"),
        ([protocol.Cancel().line()], "expected hello in the first line"),
        ([protocol.Hello(99).line()], "protocol 99, expected"),
        ([protocol.Hello(protocol.VERSION).line(), protocol.Cancel().line()], "expected run in"),
        ([b"{}\n"], "no message of protocol"),
    ],
)
def test_what_is_no_batch(tmp_path: Path, lines: list[bytes], told: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "jobs.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match=told):
        run(tmp_path / "in", tmp_path / "out")


def test_the_command(tmp_path: Path) -> None:
    place = written(tmp_path, [call("add", a=1, b=1)])
    batch = [sys.executable, "-P", "-m", "paretune.targets.batch"]
    done = subprocess.run([*batch, place, tmp_path / "out"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = results(tmp_path / "out").values()
    assert found.value == 2
    wrong = subprocess.run([*batch, tmp_path], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "usage: python -P -m paretune.targets.batch IN OUT" in wrong.stderr
    none = subprocess.run([*batch, tmp_path, place], capture_output=True, text=True, check=False)
    assert none.returncode == 2
    assert "jobs.jsonl cannot be read" in none.stderr


def test_a_task_that_was_written_is_read_as_it_was(tmp_path: Path, network: Model) -> None:
    described = Describer().described(build(network, tmp_path))
    assert task_from_json(described.to_json()) == described
