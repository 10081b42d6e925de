"""Whatever a far side sends: every job's future ends, with a value of its type or as an error."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from paretune.core import protocol
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import TransientError, UsageError
from paretune.core.job import (
    Build,
    BuildResult,
    Call,
    Job,
    JobResult,
    JobStatus,
    Limits,
    Measure,
    Smoke,
    Task,
)
from paretune.core.jsontools import canonical
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.progress import Progress
from paretune.core.result import StepTime
from paretune.core.stamps import take
from paretune.targets.launchers.conversation import BrokenError, Conversation
from paretune.targets.transports.files import FileStore, send
from tests.security.fuzzing import damaged, fuzz, json_values, mutated
from tests.targets.far_sides import DESCRIBED, Scripted

WITHIN_S = 120.0
MODEL = Model(ModelKind.ONNX, Path("/m"), "sha256:1")
RUNTIME = RuntimeSettings()
TASKS: tuple[Task, ...] = (
    Call("m:f"),
    Measure(model=MODEL, runtime=RUNTIME, evaluator="latency", params={}, rung=Rung.ROUGH, data={}),
    Build(model=MODEL, recipe=(), provider="cpu", store=Path("s"), data={}),
    Smoke(model=MODEL, runtime=RUNTIME),
)
MEASURED = Measurement("latency_ms_p50", 1.5, "ms", 1.0, 2.0, 2, "p-1", (1.0, 2.0))
BUILT = BuildResult(MODEL, (StepTime("lora", 1.5, True),), 7, ("x",), structure="sha256:1")
LIMITS = Limits(3600.0, 10**9)
MESSAGES: tuple[protocol.Message, ...] = (
    protocol.Result(1, JobStatus.OK, 3, seconds=1.0, limits=LIMITS, log="x\n"),
    protocol.Result(2, JobStatus.OK, [MEASURED.to_json()]),
    protocol.Result(3, JobStatus.OK, BUILT.to_json()),
    protocol.Result(4, JobStatus.FAILED, reason="no"),
    protocol.Progressed(1, Progress("x", 1, 2, "loss 1")),
    protocol.Need(2, ("0" * 64,)),
    protocol.Ready(4),
    protocol.Done(4),
    DESCRIBED,
    protocol.Hello(1),
    protocol.Have(2, ()),
    protocol.Cancel(None),
)
WORDS = (
    "result", "progress", "need", "ready", "described", "hello", "run", "ok", "failed",
    "cancelled", "id", "type", "status", "value", "metric", "samples", "model", "steps",
)  # fmt: skip
JSON = [json.loads(message.line()) for message in MESSAGES]
MUTATED = st.one_of(*(mutated(message, WORDS) for message in JSON))
LINES = st.one_of(
    st.binary(max_size=60),
    json_values(WORDS).map(lambda value: json.dumps(value).encode()),
    st.one_of(*(damaged(message.line()[:-1]) for message in MESSAGES)),
    MUTATED.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([message.line()[:-1] for message in MESSAGES]),
)


def is_of_its_type(task: Task, result: JobResult) -> None:
    """Require what the search relies on of a result, which it also writes to files."""
    json.dumps([result.reason, result.seconds, result.peak_memory], allow_nan=False).encode()
    canonical(result.reason).encode()
    if result.status is not JobStatus.OK:
        assert result.value is None
        return
    if isinstance(task, Measure):
        for measured in result.value:
            assert isinstance(measured, Measurement)
            canonical(measured.to_json()).encode()
            assert measured.value is None or measured.value * 1.0 < 1e400
    elif isinstance(task, Build):
        assert isinstance(result.value, BuildResult)
        canonical(result.value.to_json()).encode()
    else:
        canonical(result.value).encode()


def heard(folder: Path, content: bytes, *, described: bool) -> None:
    """Let four jobs hear a far side that sends this and then ends."""
    shown: list[Progress] = []
    far = Scripted()
    talk = Conversation("board", far, None)
    try:
        futures: list[Future[JobResult]] = []
        if described:
            asked = threading.Thread(target=lambda: (far.sink.lines.get(), far.say(DESCRIBED)))
            asked.start()  # an answer before the question would end the conversation
            talk.describe(protocol.Hello(protocol.VERSION))
            asked.join()
        for task in TASKS:
            job = Job(task, Limits(3600.0), folder / "log", shown.append)
            futures.append(talk.run(job, turns=isinstance(task, Smoke))[1].future)
        far.say(content or b"\n")
        far.end()
        for task, future in zip(TASKS, futures, strict=True):
            result = future.result(WITHIN_S)
            assert result.status is not JobStatus.CANCELLED, "nobody cancelled it"
            is_of_its_type(task, result)
        assert all(isinstance(progress, Progress) for progress in shown)
        talk._reader.join(WITHIN_S)
        assert not talk._reader.is_alive()
    finally:
        talk.close()


@fuzz(150)
@given(st.lists(LINES, min_size=1, max_size=6), st.booleans())
def test_any_lines(tmp_path: Path, lines: list[bytes], described: bool) -> None:
    heard(tmp_path, b"".join(line + b"\n" for line in lines), described=described)


@fuzz(150)
@given(st.lists(MUTATED, min_size=1, max_size=4))
def test_messages_gone_wrong(tmp_path: Path, messages: list[Any]) -> None:
    lines = (json.dumps(message).encode() + b"\n" for message in messages)
    heard(tmp_path, b"".join(lines), described=True)


@fuzz(60)
@given(json_values(WORDS))
def test_any_value_of_a_result(tmp_path: Path, value: Any) -> None:
    said = [{**message, "value": value} for message in JSON[:4]]
    heard(tmp_path, b"".join(json.dumps(s).encode() + b"\n" for s in said), described=True)


@fuzz(60)
@given(mutated(json.loads(DESCRIBED.line()), ("name", "cores", "packages", "gpus", "boot_id")))
def test_any_device(value: Any) -> None:
    far = Scripted()
    talk = Conversation("board", far, None)
    far.say(json.dumps(value).encode() + b"\n")
    far.end()
    try:
        found = talk.describe(protocol.Hello(protocol.VERSION))
    except BrokenError:
        return
    finally:
        talk.close()
    assert found.device.fingerprint.startswith("sha256:")
    json.dumps(found.device.to_json(), allow_nan=False).encode()


def stream(folder: Path) -> bytes:
    """Return what `send` writes of two files."""
    (folder / "a").write_bytes(b"one")
    (folder / "b").write_bytes(b"x" * 700)
    out = io.BytesIO()
    send([take(folder / name) for name in "ab"], out)
    return out.getvalue().rstrip(b"\0") + bytes(2 * tarfile.BLOCKSIZE)


@fuzz(100)
@given(st.data())
def test_any_stream_of_files(tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(damaged(stream(tmp_path)) | st.binary(max_size=2000))
    store = FileStore(tmp_path / "far")
    try:
        store.receive(io.BytesIO(content))
    except (TransientError, UsageError) as error:
        assert error.message
    there = {path.name for path in (tmp_path / "far" / "files").iterdir()}
    assert store.missing(there) == (), "what is there is what its name says"
