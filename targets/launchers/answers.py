"""What the parent believes of an agent's lines.

The far side may be damaged, another program, or an enemy: whatever its bytes are, they become a
message that an agent may send, or an `AnswerError`. A result that cannot be read costs its own job
only (`ResultError`); anything else ends the conversation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, get_args

from paretune.core import protocol
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.core.job import BuildResult, Job, JobResult, JobStatus, Measure, json_adapter
from paretune.core.jsontools import Json, parse_json
from paretune.core.measurement import Measurement
from paretune.core.protocol import LOG_KEEPS, MOST_LINE_BYTES
from paretune.registry import find_evaluator
from paretune.targets.worker.measuring import refuse_missing

Answer = (
    protocol.Described
    | protocol.Progressed
    | protocol.Ready
    | protocol.Done
    | protocol.Need
    | protocol.Result
)
"""What an agent sends; all other messages are the parent's."""

_ANSWERS: Mapping[str, type[Answer]] = {each.type: each for each in get_args(Answer)}
_LARGEST = 1 << 64
"""No count, size or time of a message reaches this."""
_QUOTED = 200
_BEGIN = b'{"type": "'


class AnswerError(Exception):
    """The far side sent what no agent sends."""


class ResultError(AnswerError):
    """A job's result cannot be read.

    Attributes:
        id: The job's number.
    """

    def __init__(self, id: int, reason: str) -> None:
        super().__init__(reason)
        self.id = id


def lines(reader: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a channel; one that breaks off at the end of it is left out.

    Raises:
        AnswerError: A line is longer than the protocol allows.
        OSError: The channel cannot be read.
        ValueError: It was closed.
    """
    while line := reader.readline(MOST_LINE_BYTES + 1):
        if len(line) > MOST_LINE_BYTES:
            raise AnswerError(f"a line of more than {MOST_LINE_BYTES} bytes")
        if not line.endswith(b"\n"):
            return
        yield line


def after_greeting(line: bytes) -> bytes | None:
    """Return the message in a line, right or wrong; None: it is what a login prints.

    A greeting may have no line break at its end, so that the message follows in its last line.
    """
    message = line[max(0, line.find(_BEGIN)) :]
    return message if is_message(message) else None


def is_message(line: bytes) -> bool:
    """Return whether a line is a message, right or wrong, and not what another program prints."""
    try:
        value = parse_json(line.decode(), replace=True)
    except ValueError:
        return line.startswith(_BEGIN)
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind in protocol.TYPES


def read(line: bytes) -> Answer:
    """Read a line of an agent.

    Raises:
        ResultError: It is a job's result that cannot be read.
        AnswerError: It is not a message, or one that an agent does not send.
    """
    try:
        fields = parse_json(line.decode(), replace=True)
    except ValueError as error:
        raise AnswerError(f"{line[:_QUOTED]!r} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise AnswerError(f"{line[:_QUOTED]!r} is not an object")
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in _ANSWERS:
        raise AnswerError(f"a message of the type {repr(kind)[:_QUOTED]}, which no agent sends")
    try:
        _refuse_numbers({key: value for key, value in fields.items() if key != "value"})
        message = protocol.message_of(_ANSWERS[kind], fields)
        if isinstance(message, protocol.Described):
            _check_device(message.device)
    except (ValueError, RecursionError) as error:
        reason = f"a message {kind!r} with a wrong field: {_first_lines(error)}"
        number = fields.get("id")
        if kind == protocol.Result.type and type(number) is int:
            raise ResultError(number, reason) from error
        raise AnswerError(reason) from error
    return message  # type: ignore[return-value]  # one of _ANSWERS


def result_of(job: Job, said: protocol.Result, name: str, *, cancelled: bool) -> JobResult:
    """Return a job's result, and append what it printed to its log.

    Args:
        job: The job.
        said: The agent's message.
        name: The target's name.
        cancelled: Whether this side cancelled it.

    Raises:
        OSError: The log cannot be written.
    """
    if job.log is not None and said.log:
        with open(job.log, "a", encoding="utf-8") as log:
            log.write(_shortened(said.log))
    status, value, reason, transient = said.status, None, said.reason, said.transient
    if status is JobStatus.CANCELLED and not cancelled:
        status, transient = JobStatus.CRASHED, True
        reason = f"it was cancelled on the far side of {name}"
    elif status is JobStatus.OK:
        try:
            value = _value(job, said.value)
        except Exception as error:  # whatever a value can be: a wrong one raises anything
            return unreadable(name, f"{job.task.name}: {_explained(error)}", said.seconds)
    return JobResult(
        status=status,
        value=value,
        reason=reason,
        seconds=said.seconds,
        peak_memory=said.peak_memory,
        transient=transient,
        limits=said.limits,
        interference=said.interference,
        waited=max(0.0, said.waited),
    )


def unreadable(name: str, reason: str, seconds: float = 0.0) -> JobResult:
    """Return the result of a job whose result cannot be read: transient, as it is not its fault."""
    text = f"the agent of {name} sent a result that cannot be read: {reason}"
    return JobResult(JobStatus.FAILED, None, text, seconds, transient=True)


def _value(job: Job, said: Json) -> Any:
    """Return the value of a job that ended well.

    Raises:
        ValueError: It is none that such a job has (other errors mean the same).
    """
    _refuse_numbers(said)
    if isinstance(job.task, Measure):
        if not isinstance(said, list):
            raise ValueError(f"expected a list of measurements, found {repr(said)[:60]}")
        measured = job.task.value_from_json(said)
        for each in measured:
            _check_measurement(each)
        _refuse_missing(job.task, [each.metric for each in measured])
        return measured
    value = job.task.value_from_json(said)
    if isinstance(value, BuildResult):
        _check_build(value)
    return value


def _refuse_missing(task: Measure, came: list[str]) -> None:
    try:
        kind = find_evaluator(task.evaluator)
    except (UsageError, ImportError):  # only the far side has it
        return
    if task.rung is kind.rungs[-1]:
        declared = [spec.name for spec in kind(kind.Params(**task.params)).metrics]
        refuse_missing(task.evaluator, declared, came)


def _check_measurement(value: Measurement) -> None:
    texts = (value.metric, value.unit, value.protocol)
    numbers = (value.value, value.low, value.high)
    if (
        not all(isinstance(text, str) for text in texts)
        or not all(number is None or _is_number(number) for number in numbers)
        or not all(map(_is_number, value.samples))
        or not (type(value.n) is int and value.n >= 0)
        or not (value.reason is None or isinstance(value.reason, str))
    ):
        raise ValueError(f"the measurement {repr(value.metric)[:60]} has a field of a wrong type")


def _check_build(value: BuildResult) -> None:
    texts = (value.model.digest, *value.faults, *(step.step for step in value.steps))
    numbers = (value.bytes, *(number for step in value.steps for number in (step.s, step.resumed)))
    if (
        not all(isinstance(text, str) for text in texts)
        or not all(_is_number(number) and number >= 0 for number in numbers)
        or not all(isinstance(step.cached, bool) for step in value.steps)
        or not (value.structure is None or isinstance(value.structure, str))
    ):
        raise ValueError("the built model has a field of a wrong type")
    for made in value.made:
        names = (made.key, made.digest, made.kind)
        files = [(file.name, file.sha256) for file in made.files]
        texts = (*names, *(text for pair in files for text in pair))
        if not all(isinstance(text, str) for text in texts) or not isinstance(made.note, dict):
            raise ValueError("what a step made has a field of a wrong type")


def _check_device(value: TargetInfo) -> None:
    try:
        facts = {key: fact for key, fact in value.to_json().items() if key != "fingerprint"}
        found: TargetInfo = json_adapter(TargetInfo).validate_python(facts)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if found != value:
        raise ValueError("a fact of the device has a wrong type")
    sizes = (found.memory, found.memory_free, found.disk_free)
    if min(found.cores, found.logical_cores) < 1 or min(sizes) < 0:
        raise ValueError("a device without cores, or with less than no memory")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse_numbers(value: Json) -> None:
    """Refuse NaN, infinities and numbers beyond any size, which nothing here can count with.

    Raises:
        ValueError: There is one; the value's depth is that of a message.
    """
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_numbers(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value} is not finite")
    elif isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        raise ValueError("a whole number of more than 64 bits")


def _shortened(log: str) -> str:
    """Return a log; of one that is longer than agents send, the beginning and the end."""
    most = 2 * LOG_KEEPS + _QUOTED  # with the line that says what was left out
    if len(log) <= most:
        return log
    left_out = len(log) - 2 * LOG_KEEPS
    return f"{log[:LOG_KEEPS]}\n[... {left_out} characters left out ...]\n{log[-LOG_KEEPS:]}"


def _explained(error: Exception) -> str:
    text = _first_lines(error)
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:_QUOTED]
