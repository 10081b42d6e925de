"""Whatever a far side says it has built, and whatever it sends: the store here stays true."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core import protocol
from paretune.core.job import Build, Job, JobResult, JobStatus
from paretune.core.jsontools import Json
from paretune.models.handle import folder_digest
from paretune.store.artifacts import Store
from paretune.targets.launchers import answers
from paretune.targets.launchers.far_builds import FarBuilds
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import Describer
from tests.security.fuzzing import damaged, fuzz, json_values, mutated
from tests.targets.two_stores import Sides, two_stores

WITHIN_S = 120.0
WORDS = (
    "made", "files", "note", "key", "digest", "kind", "fidelity", "seconds", "version", "compared",
    "../../x", "/etc/passwd", "a/b", "config.json", "fake.txt", "hf", "onnx", "0" * 64,
    "sha256:" + "0" * 64,
)  # fmt: skip


class Far:
    """A far side that has built truly, and then says and sends something else.

    Args:
        folder: It is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.sides: Sides = two_stores(folder)
        value = self.sides.built()
        self.said: Json = json.loads(json.dumps(self.sides.task.value_to_json(value)))
        self.digest = value.model.digest
        self.true = {made.key: made.digest for made in value.made}
        self.files = {file.sha256 for made in value.made for file in made.files}
        self.stream = self.sent(sorted(self.files))
        self.outside = self._outside()

    def sent(self, digests: list[str]) -> bytes:
        """Return the stream of some of its files."""
        stream = io.BytesIO()
        send(FileStore(self.sides.folder / "far").named(digests), stream)
        return stream.getvalue()

    def _outside(self) -> list[tuple[str, int]]:
        folder = self.sides.folder
        paths = sorted(path for path in folder.parent.rglob("*") if path.is_file())
        near = folder / "near"
        return [(str(p), p.stat().st_mtime_ns) for p in paths if not p.is_relative_to(near)]

    def answers(self, value: Json, sent: Callable[[list[str]], bytes]) -> None:
        """Let a far side answer a build, and check what became of it here."""
        near = self.sides.folder / "near"
        shutil.rmtree(near, ignore_errors=True)

        class Sends:
            def fetch(self, wanted: Mapping[str, int], store: FileStore) -> None:
                store.receive(io.BytesIO(sent(sorted(wanted))), wanted)

            def stop_fetching(self) -> None:
                """Nothing runs on."""

        def submit(job: Job) -> Future[JobResult]:
            future: Future[JobResult] = Future()
            said = protocol.Result(1, JobStatus.OK, value)
            future.set_result(answers.result_of(job, said, "board", cancelled=False))
            return future

        builds = FarBuilds("board", submit, Describer(), Sends())
        result = builds.submit(Job(self.sides.task)).result(WITHIN_S)
        if result.status is JobStatus.OK:
            assert result.value.model.digest == self.digest
            assert result.value.model.path == near / "objects" / self.digest.replace(":", "-")
        else:
            assert result.value is None
            assert result.transient or result.status is JobStatus.INVALID
        store = Store(near)
        for name in store.objects():
            assert folder_digest(store.object_path(name)) == name
        for action in store.actions():
            assert self.true[action.key] == action.digest
        assert not any(path.is_symlink() for path in near.rglob("*"))
        arrived = [path.name for path in near.glob("arriving/*/*")]
        assert set(arrived) <= self.files
        assert self._outside() == self.outside, "something outside of the store was written"


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Far:
    return Far(tmp_path_factory.mktemp("fuzzed") / "sides")


def test_the_truth_is_taken_over(far: Far) -> None:
    far.answers(far.said, far.sent)
    assert Store(far.sides.folder / "near").objects() == sorted(far.true.values())


@fuzz(100)
@given(st.data())
def test_messages_gone_wrong(far: Far, data: st.DataObject) -> None:
    far.answers(data.draw(mutated(far.said, WORDS)), far.sent)


@fuzz(60)
@given(st.data())
def test_what_a_step_made_gone_wrong(far: Far, data: st.DataObject) -> None:
    assert isinstance(far.said, dict)
    made = [data.draw(mutated(each, WORDS) | st.just(each)) for each in far.said["made"]]
    far.answers({**far.said, "made": made}, far.sent)


@fuzz(30)
@given(json_values(WORDS))
def test_any_value(far: Far, value: Any) -> None:
    far.answers(value, far.sent)
    assert isinstance(far.said, dict)
    far.answers({**far.said, "made": value}, far.sent)


@fuzz(60)
@given(st.data())
def test_streams_gone_wrong(far: Far, data: st.DataObject) -> None:
    content = data.draw(damaged(far.stream) | st.binary(max_size=2000))
    far.answers(far.said, lambda wanted: content)


def test_more_files_than_were_asked_for(far: Far) -> None:
    far.answers(far.said, lambda wanted: far.stream)


def test_a_build_of_another_recipe(far: Far) -> None:
    task = far.sides.task
    far.sides.task = replace(task, recipe=task.recipe[::-1])
    assert isinstance(far.sides.task, Build)
    try:
        far.answers(far.said, far.sent)
    except KeyError as error:  # an action under a key that this recipe has and the other has not
        raise AssertionError from error
    finally:
        far.sides.task = task
