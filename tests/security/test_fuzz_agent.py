"""Whatever an agent receives: it ends by itself, each job that it took has one result, and nothing
is written outside of its store.

Paths that a parent names on the far side (the store, a study there) are its own business, and are
not varied: it has the account. The names of a task's files are varied.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core import protocol
from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import StateError, UsageError
from paretune.core.job import Build, Call, Job, Limits, Measure, Smoke
from paretune.models.handle import open_model
from paretune.targets import agent
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.tasks import Describer, files_of
from tests.onnx_networks import write_network
from tests.security.fuzzing import damaged, fuzz, json_values, mutated

WITHIN_S = 120.0
JOBS = "paretune.testing.jobs"
WORDS = (
    "hello", "run", "have", "go", "cancel", "result", "call", "measure", "build", "smoke", "kind",
    "id", "type", "task", "limits", "turns", "digests", "../../escaped", "model.onnx", "0" * 64,
)  # fmt: skip
ANSWERS = ("described", "progress", "need", "ready", "done", "result")


class Kept(LocalTarget):
    """A target for all conversations, because a fork server for each would take most of the time.

    What `close` promises of a target's jobs is so for each conversation.
    """

    ended = False

    def submit(self, job: Job) -> Any:
        if self.ended:
            raise StateError("the target is closed")
        return super().submit(job)

    def close(self) -> None:
        self.ended = True
        with self._lock:
            threads = [thread for _, thread in self._running.values()]
        self.cancel()
        for thread in threads:
            thread.join(WITHIN_S)

    def really_close(self) -> None:
        super().close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    made = Kept(tmp_path_factory.mktemp("kept"))
    yield made
    made.really_close()


def messages(folder: Path) -> list[dict[str, Any]]:
    """Return what a parent may send, as JSON; the files that tasks name have arrived."""
    model, runtime = open_model(write_network(folder / "network")), RuntimeSettings("cpu", 1)
    data = {"specs": {}, "root": ".", "allow_network": False}
    params = {"shapes": {"x": [1, 8]}}
    measure = Measure(
        model=model,
        runtime=runtime,
        evaluator="latency",
        params=params,
        seconds=0.01,
        data=data,
    )
    recipe = (Step("onnx_dynamic_int8", {"per_channel": False}),)
    build = Build(
        model=model, recipe=recipe, provider="cpu", store=folder / "far", data=data, seeds=()
    )
    describer = Describer()
    tasks = [describer.described(task) for task in (measure, build)]
    store = FileStore(folder / "far")
    for task in tasks:
        for file in files_of(task).values():
            store.copy(file.path, file.sha256)
    add, smoke = Call(f"{JOBS}:add", {"a": 1, "b": 2}), Smoke(model=model, runtime=runtime)
    said: list[protocol.Message] = [
        protocol.Hello(protocol.VERSION, folder / "far", shared=False),
        protocol.Run(1, add.to_json(), Limits(60.0)),
        protocol.Run(2, tasks[0].to_json(), Limits(60.0)),
        protocol.Run(3, describer.described(smoke).to_json(), turns=True),
        protocol.Run(4, tasks[1].to_json(), Limits(60.0)),
        protocol.Have(2, ("0" * 64,)),
        protocol.Have(3, (), "they could not be sent"),
        protocol.Go(3),
        protocol.Cancel(None),
        protocol.Cancel(1),
        protocol.Need(1, ()),
    ]
    return [json.loads(message.line()) for message in said]


def at_home(value: Any, store: Path) -> Any:
    """Return a message whose paths on the far side are those of the test."""
    if isinstance(value, dict):
        if value.get("type") == "hello":
            return {**value, "store": str(store)}
        task = value.get("task")
        if isinstance(task, dict) and "store" in task:
            return {**value, "task": {**task, "store": str(store), "study": None}}
    return value


def heard(kept: Kept, lines: list[bytes]) -> list[dict[str, Any]]:
    """Let an agent hear this; return what it answers once none of its threads is left."""
    before, out, kept.ended = set(threading.enumerate()), io.BytesIO(), False
    left = iter(lines)
    try:
        agent.Agent(left, out).serve()  # type: ignore[arg-type]  # it is iterated over
        taken = lines
    except UsageError:
        taken = lines[: len(lines) - len(list(left)) - 1]
    for thread in set(threading.enumerate()) - before:
        thread.join(WITHIN_S)
        assert not thread.is_alive(), "a job waits for what nobody sends"
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {answer["type"] for answer in answers} <= set(ANSWERS)
    for answer in answers:
        protocol.read(json.dumps(answer).encode())
    runs = [message.id for message in map(understood, taken) if message is not None]
    results = sorted(answer["id"] for answer in answers if answer["type"] == "result")
    assert results == sorted(runs), "each job that was taken has one result"
    return answers


def understood(line: bytes) -> protocol.Run | None:
    message = protocol.read(line)
    return message if isinstance(message, protocol.Run) else None


def stays_inside(folder: Path, kept: Kept, lines: list[bytes]) -> None:
    """Require that a conversation leaves everything outside of the store as it is."""

    def outside() -> list[tuple[str, int]]:
        found = [path for path in folder.rglob("*") if not path.is_relative_to(folder / "far")]
        return sorted((str(path), path.lstat().st_mtime_ns) for path in found if path.is_file())

    before = outside()
    heard(kept, lines)
    assert outside() == before
    assert not list(folder.parent.rglob("escaped"))
    assert not list((folder / "far" / "staging").glob("*/model")), "a job's folder stayed behind"


@pytest.fixture
def place(tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The agent's working folder."""

    def made(*arguments: object, **options: object) -> Kept:
        return kept

    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(agent, "LocalTarget", made)
    return folder


@fuzz(40)
@given(st.data())
def test_any_messages(place: Path, kept: Kept, data: st.DataObject) -> None:
    valid = messages(place)
    one = st.one_of(*(mutated(message, WORDS) for message in valid), st.sampled_from(valid))
    some = data.draw(st.lists(one, min_size=1, max_size=6))
    first = [valid[0]] if data.draw(st.booleans()) else []
    lines = [
        json.dumps(at_home(message, place / "far")).encode() + b"\n" for message in [*first, *some]
    ]
    stays_inside(place, kept, lines)


@fuzz(60)
@given(st.data())
def test_any_lines(place: Path, kept: Kept, data: st.DataObject) -> None:
    valid = [json.dumps(message).encode() for message in messages(place)]
    values = json_values(WORDS).map(
        lambda value: json.dumps(at_home(value, place / "far")).encode()
    )
    line = st.one_of(values, st.binary(max_size=60), damaged(valid[5]), damaged(valid[8]))
    lines = data.draw(st.lists(line | st.sampled_from(valid[:2]), min_size=1, max_size=5))
    stays_inside(place, kept, [each.replace(b"\n", b" ") + b"\n" for each in lines])


@pytest.mark.parametrize(
    ("numbers", "told"),
    [((1,), "'run' came before 'hello'"), ((0, 1, 1), "sent before"), ((0, 10), "of an agent")],
)
def test_what_no_parent_sends_ends_the_conversation(
    place: Path, kept: Kept, numbers: tuple[int, ...], told: str
) -> None:
    valid = messages(place)
    lines = [json.dumps(valid[number]).encode() + b"\n" for number in numbers]
    kept.ended = False
    with pytest.raises(UsageError, match=told):
        agent.Agent(iter(lines), io.BytesIO()).serve()  # type: ignore[arg-type]


def test_the_messages_that_are_varied_are_understood(place: Path, kept: Kept) -> None:
    """Else everything would be refused at its first field."""
    lines = [json.dumps(message).encode() + b"\n" for message in messages(place)[:3]]
    results: dict[int, Any] = {}
    waits = threading.Event()

    class Out(io.BytesIO):
        def write(self, line: Any) -> int:
            said = json.loads(line)
            if said["type"] == "result":
                results[said["id"]] = said
                if len(results) == 2:
                    waits.set()
            return super().write(line)

    def said() -> Iterator[bytes]:
        yield from lines
        assert waits.wait(WITHIN_S)

    kept.ended = False
    agent.Agent(said(), Out()).serve()  # type: ignore[arg-type]
    assert {each["status"] for each in results.values()} == {"ok"}, results
