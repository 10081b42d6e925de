"""The conversation between a target and its agent: one JSON object per line, over one channel.

```
> hello     what is allowed, where artifacts lie       < described  what the far side is
> run       a task with its limits                     < progress   of a job
< need      digests that the task names and that       > have       the transport has brought them
            are not there
< ready     a job waits for a turn (`Run.turns`)       > go         it works, or ends after `done`
< done      a job needs no more turns                  > cancel     one job, or all
< result    how a job ended
```
``hello`` may be sent again; the answer has the memory and disk that are free then. ``ready``,
``go`` and ``done`` are the words of `paretune.targets.interleave`. What a job prints comes with its
result. When the channel closes, the agent ends its jobs and itself. The JSON Schema is
``paretune/schemas/protocol.schema.json``. What the parent believes of the agent's lines is decided
in `paretune.targets.launchers.answers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.core.interference import Interference
from paretune.core.job import TASKS, JobStatus, Limits, json_adapter
from paretune.core.jsontools import Json, OwnJson
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress

VERSION = 4
"""Of the messages: both sides must have the same."""
MOST_LINE_BYTES = 64 << 20
"""Of a line of the agent, its end included: a longer one is not read."""
LOG_KEEPS = 1 << 20
"""How much of a long `Result.log` is kept of its beginning, and as much of its end."""


class _Message:
    """What all messages have in common."""

    type: ClassVar[str]

    def line(self) -> bytes:
        """Return the message as a line of JSON."""
        fields: dict[str, Json] = json_adapter(type(self)).dump_python(self, mode="json")
        return json.dumps({"type": self.type, **fields}).encode() + b"\n"


@dataclass(frozen=True)
class Hello(_Message):
    """The first message of the parent; the agent answers with `Described`.

    Attributes:
        protocol: The parent's `VERSION`.
        store: Root of the artifact store on the far side; None: none is needed.
        shared: Whether the paths that tasks name exist on the far side (a shared folder).
        packages: Distributions that the jobs use: what is installed of them is imported once,
            before the first job.
        permissions: What jobs may do.
        budget: Bytes that the store may have where no folder is shared; None: as many as the disk.
    """

    type: ClassVar[str] = "hello"
    protocol: int
    store: Path | None = None
    shared: bool = True
    packages: tuple[str, ...] = ()
    permissions: Permissions = Permissions()
    budget: int | None = None


@dataclass(frozen=True)
class Described(_Message):
    """What the far side is.

    Attributes:
        protocol: The agent's `VERSION`.
        version: Of paretune there.
        device: The device's facts, with the versions of the packages there.
        plugins: What other packages add there, such as ``passes.mine``, with their distributions.
        runtimes: Of each runtime why it cannot be used there; null: it can.
    """

    type: ClassVar[str] = "described"
    protocol: int
    version: str
    device: Annotated[TargetInfo, OwnJson()]
    plugins: Mapping[str, str] = field(default_factory=dict)
    runtimes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Run(_Message):
    """Run a task.

    Attributes:
        id: The job's number, new for each.
        task: `paretune.core.job.Task.to_json`.
        limits: Time and memory.
        turns: Whether it is interleaved with other jobs: it waits for a `Go` before each turn.
    """

    type: ClassVar[str] = "run"
    id: int
    task: Mapping[str, Json]
    limits: Limits = Limits()
    turns: bool = False


@dataclass(frozen=True)
class Need(_Message):
    """Digests of models and files that a job names and that the far side does not have."""

    type: ClassVar[str] = "need"
    id: int
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Have(_Message):
    """The transport has brought what was needed; `reason`: why it could not."""

    type: ClassVar[str] = "have"
    id: int
    digests: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True)
class Progressed(_Message):
    """Progress of a job."""

    type: ClassVar[str] = "progress"
    id: int
    progress: Progress


@dataclass(frozen=True)
class Ready(_Message):
    """A job waits for a turn."""

    type: ClassVar[str] = "ready"
    id: int


@dataclass(frozen=True)
class Go(_Message):
    """A job has a turn; after its `Done`, it ends."""

    type: ClassVar[str] = "go"
    id: int


@dataclass(frozen=True)
class Done(_Message):
    """A job has had its last turn, and waits until all have."""

    type: ClassVar[str] = "done"
    id: int


@dataclass(frozen=True)
class Cancel(_Message):
    """End a job (``id``: null: all of them); its result is ``cancelled``."""

    type: ClassVar[str] = "cancel"
    id: int | None = None


@dataclass(frozen=True)
class Result(_Message):
    """How a job ended (see `paretune.core.job.JobResult`).

    Attributes:
        id: The job's number.
        status: How it ended.
        value: What the task's `value_to_json` gave.
        reason: Why it did not end well.
        transient: True if the cause lay outside of the job.
        seconds: Wall time.
        peak_memory: Largest resident size of its processes, in bytes.
        limits: What was in force.
        interference: CPU time that other processes used on the far side meanwhile.
        waited: Seconds before it began, in which its machine was in use.
        log: What the job printed; of much, the beginning and the end.
    """

    type: ClassVar[str] = "result"
    id: int
    status: JobStatus
    value: Json = None
    reason: str | None = None
    transient: bool = False
    seconds: float = 0.0
    peak_memory: int = 0
    limits: Limits = Limits()
    interference: Interference | None = None
    waited: float = 0.0
    log: str = ""


Message = Hello | Described | Run | Need | Have | Progressed | Ready | Go | Done | Cancel | Result
TYPES: Mapping[str, type[Message]] = {each.type: each for each in get_args(Message)}
"""The messages of both sides, by their types."""


def read(line: bytes) -> Message:
    """Read a line of the conversation.

    Raises:
        UsageError: It is not a message of this version.
    """
    try:
        fields = json.loads(line)
        return message_of(TYPES[fields.pop("type")], fields)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"no message of protocol {VERSION}: {line[:200]!r}") from error


def message_of(kind: type[Message], fields: Mapping[str, Json]) -> Message:
    """Return the message of a kind with these fields.

    Raises:
        ValueError: A field is missing, or has a value that it cannot have.
    """
    try:
        message: Message = json_adapter(kind).validate_python(fields)
    except (KeyError, AttributeError, TypeError) as error:  # of what reads itself (`OwnJson`)
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return message


def schema() -> dict[str, Json]:
    """Return the JSON Schema of a line; ``paretune/schemas/protocol.schema.json`` is a copy."""
    from pydantic import TypeAdapter

    types: dict[str, Any] = {**TYPES, **{f"task {kind}": task for kind, task in TASKS.items()}}
    found, shared = TypeAdapter.json_schemas(
        [(name, "serialization", json_adapter(kind)) for name, kind in types.items()]
    )

    def one(name: str, key: str, value: str) -> dict[str, Json]:
        return {
            "allOf": [
                found[name, "serialization"],
                {"properties": {key: {"const": value}}, "required": [key]},
            ]
        }

    tasks = {"oneOf": [one(f"task {kind}", "kind", kind) for kind in TASKS]}
    shared["$defs"]["Run"]["properties"]["task"] = tasks
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"paretune: a line of the conversation with an agent, protocol {VERSION}",
        "oneOf": [one(name, "type", name) for name in TYPES],
        **shared,
    }
