"""Far sides that a test decides: a channel of its own, and an agent with other facts."""

from __future__ import annotations

import io
import json
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO, cast

from paretune import __version__
from paretune.core import protocol
from paretune.core.candidate import RuntimeSettings
from paretune.core.device import TargetInfo
from paretune.core.errors import ConnectionLostError
from paretune.core.job import Call, Job, JobResult, JobStatus, Measure
from paretune.core.measurement import Rung
from paretune.core.model import Model, ModelKind
from paretune.targets.launchers.conversation import Conversation
from paretune.targets.transports.bounded import run_bounded
from paretune.targets.transports.host import CommandError

DESCRIBED = protocol.Described(protocol.VERSION, __version__, TargetInfo("local"))


class _Source(io.RawIOBase):
    """Reads from pieces of bytes, which may come later."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class _Sink:
    """Takes what the parent sends.

    Attributes:
        lines: Whole messages, one after another.
        broken: Raised by the next write.
        stuck: Set by a test to a lock that a write waits for.
    """

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.broken: OSError | None = None
        self.stuck: threading.Event | None = None

    def write(self, line: bytes) -> int:
        if self.stuck is not None:
            self.stuck.wait(300)
        if self.broken is not None:
            raise self.broken
        self.lines.put(json.loads(line))
        return len(line)

    def flush(self) -> None:
        """Nothing is kept back."""


class Scripted:
    """A channel whose far side is the test.

    Args:
        pieces: What the far side sends; None: what `say` is given, until `end`.

    Attributes:
        sink: Takes what the parent sends.
        killed: Whether the parent killed it.
    """

    def __init__(self, pieces: Iterable[bytes] | None = None) -> None:
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        given = iter(self._said.get, b"") if pieces is None else pieces
        self.reader: BinaryIO = io.BufferedReader(_Source(given))
        self.sink = _Sink()
        self.writer = cast(BinaryIO, self.sink)
        self.killed = False

    def say(self, *said: protocol.Message | bytes) -> None:
        """Send messages, or any other bytes."""
        for each in said:
            self._said.put(each if isinstance(each, bytes) else each.line())

    def end(self) -> None:
        """Close the far side."""
        self._said.put(b"")

    def last_words(self) -> str:
        return "it stumbled\n"

    def kill(self) -> None:
        self.killed = True
        self.end()

    def close(self) -> None:
        self.end()


WITHIN_S = 120.0
HELLO = protocol.Hello(protocol.VERSION)
CALL = Job(Call("m:f"))
MEASURE = Job(
    Measure(
        model=Model(ModelKind.ONNX, Path("/m"), "sha256:1"),
        runtime=RuntimeSettings(),
        evaluator="latency",
        params={"shapes": {"x": [1, 4]}},
        rung=Rung.ROUGH,
        data={},
    )
)
Talk = Callable[..., Conversation]


def begun(talk: Conversation, job: Job = CALL, *, turns: bool = False) -> Future[JobResult]:
    """Send a job; return its future."""
    return talk.run(job, turns=turns)[1].future


def is_lost(future: Future[JobResult], words: str) -> None:
    """Require that a job ended as one of a lost connection."""
    result = future.result(WITHIN_S)
    assert (result.status, result.transient) == (JobStatus.CRASHED, True)
    assert isinstance(result.lost, ConnectionLostError)
    assert words in (result.reason or "")
    assert "board" in (result.reason or "")


_AGENT = """
import json
from dataclasses import replace
from pathlib import Path
from paretune.targets import agent
from paretune.targets.launchers.local import LocalTarget
facts = json.loads(Path({facts!r}).read_text())
agent.MOST_LINE_BYTES = facts.pop("most_line_bytes", agent.MOST_LINE_BYTES)
info = LocalTarget.info
LocalTarget.info = lambda self: replace(info(self), **facts)
agent.main()
"""


class OtherFacts:
    """An interpreter whose agent is the real one, but for facts of its device.

    Args:
        folder: An empty folder.

    Attributes:
        python: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self._facts = folder / "facts.json"
        self.python = folder / "python"
        (folder / "agent.py").write_text(_AGENT.format(facts=str(self._facts)))
        self.python.write_text(f"#!/bin/sh\nexec {sys.executable} -P {folder}/agent.py\n")
        self.python.chmod(0o755)
        self.set()

    def set(self, **facts: Any) -> None:
        """Choose what the next agent says that its device is.

        ``most_line_bytes`` is no fact: the agent sends no longer result.
        """
        self._facts.write_text(json.dumps(facts))


class OneHost:
    """A machine that is this one.

    Attributes:
        seen: Changes the words of each command: what lies at a path there.
        first: Called before each command.
        then: Called after each command.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.seen: Callable[[str], str] = lambda word: word
        self.first: Callable[[], object] = lambda: None
        self.then: Callable[[], object] = lambda: None

    def command(self, *remote: str, master: bool = False) -> list[str]:
        return [self.seen(word) for word in remote]

    def run(self, *remote: str, given: bytes = b"", seconds: float = 120.0) -> bytes:
        self.first()
        done = run_bounded(self.command(*remote), given, seconds)
        if done.status:
            raise CommandError(remote[0], done.status, done.errors.decode())
        self.then()
        return done.output

    def close(self) -> None:
        pass
