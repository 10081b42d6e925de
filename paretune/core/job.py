"""A job: one task for a worker process with its limits, and its result.

A task names everything that it reads: models (by digest, with where they lie on the side that made
the task), and the files of data sets, plug-ins and parameters as `InputFiles` with their digests. A
transport that moves tasks to another machine replaces ``model``, ``inputs``, ``data["root"]`` and
``store``; nothing else in a task is a path, except in the arguments of a `Call`.

Tasks are made by `paretune.study.job_factory` (``bench``, ``compare`` and the preflight checks make
their own), and read in `paretune.targets.worker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

from paretune.core.candidate import RuntimeSettings, Step
from paretune.core.errors import TargetLostError, UsageError, nearest
from paretune.core.fidelity import Verdict, verdict_from
from paretune.core.interference import Interference
from paretune.core.jsontools import Json, OwnJson
from paretune.core.made import Made
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress
from paretune.core.result import StepTime
from paretune.core.stamps import InputFiles

JOB_MEMORY_SHARE = 0.9
"""Share of the free memory that a job without a limit of its own may use."""


@dataclass(frozen=True)
class Limits:
    """What a job may use.

    Attributes:
        seconds: Wall time; None: no limit.
        memory: Resident bytes of the job's whole process tree; None: no limit.
    """

    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class BuildResult:
    """The result of a `Build`.

    Attributes:
        model: What was built; without a recipe, the input.
        steps: Seconds of each pass; of one whose output was in the store, what it once took.
        bytes: Size of the model's files.
        faults: What the store had set aside on the way.
        fidelity: What the model is to its source; None: the target does not compare.
        structure: Digest of what its speed depends on (`paretune.models.structure`); None: unknown.
        made: What each step made, if `Build.seeds` asked for it.
    """

    model: Model
    steps: tuple[StepTime, ...] = ()
    bytes: int = 0
    faults: tuple[str, ...] = ()
    fidelity: Verdict | None = None
    structure: str | None = None
    made: tuple[Made, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return everything by name; ``made`` only if there is any."""
        made = {"made": [each.to_json() for each in self.made]} if self.made else {}
        return {
            **made,
            "model": self.model.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "bytes": self.bytes,
            "faults": list(self.faults),
            "fidelity": None if self.fidelity is None else self.fidelity.to_json(),
            "structure": self.structure,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> BuildResult:
        """Read what `to_json` wrote."""
        return cls(
            Model.from_json(value["model"]),
            tuple(map(StepTime.from_json, value["steps"])),
            value["bytes"],
            tuple(value["faults"]),
            verdict_from(value),
            value.get("structure"),
            tuple(map(Made.from_json, value.get("made", ()))),
        )


class _Task:
    """What all tasks have in common."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Json]:
        """Return the fields by name, and the kind."""
        fields: dict[str, Json] = json_adapter(type(self)).dump_python(self, mode="json")
        return {"kind": self.kind, **fields}

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.kind

    def value_to_json(self, value: Any) -> Json:
        """Return the JSON of what the worker found."""
        return value

    def value_from_json(self, value: Json) -> Any:
        """Read what `value_to_json` wrote."""
        return value


@dataclass(frozen=True, kw_only=True)
class Build(_Task):
    """Take each prefix of a recipe from the store, or run its pass; the result is a `BuildResult`.

    Attributes:
        model: The input.
        recipe: The passes.
        provider: Of the runtime that the model is built for.
        store: Root of the artifact store.
        study: The study's folder, for which the store keeps the artifacts; None: no study.
        data: The data sets (``DataCatalog.to_json()``); ``root`` is where relative paths start.
        inputs: Files that the job reads.
        permissions: What the job may do.
        stops: By pass, where its runs stop in this study: a state there will be asked for
            (`paretune.core.checkpoints`).
        compared_on: Data set of arrays on whose rows builds are compared with their source; empty:
            on made-up ones.
        seeds: First steps that another store has made, which are taken over into this one; the
            result then says what each step made. None: the store is that of the parent.
    """

    kind: ClassVar[str] = "build"
    model: Annotated[Model, OwnJson()]
    recipe: tuple[Annotated[Step, OwnJson()], ...]
    provider: str
    store: Path
    study: Path | None = None
    data: Mapping[str, Json]
    inputs: tuple[InputFiles, ...] = ()
    permissions: Permissions = Permissions()
    stops: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    compared_on: str = ""
    seeds: tuple[Annotated[Made, OwnJson()], ...] | None = None

    def value_to_json(self, value: BuildResult) -> Json:
        """Return the JSON of a `BuildResult`."""
        return value.to_json()

    def value_from_json(self, value: Json) -> BuildResult:
        """Return a `BuildResult`."""
        return BuildResult.from_json(value)


@dataclass(frozen=True, kw_only=True)
class Smoke(_Task):
    """Load a packaged model and run it on a little input; the result is JSON.

    Attributes:
        model: The package.
        runtime: What it runs with.
        inputs: Files that the job reads.
        permissions: What the job may do.
    """

    kind: ClassVar[str] = "smoke"
    model: Annotated[Model, OwnJson()]
    runtime: Annotated[RuntimeSettings, OwnJson()]
    inputs: tuple[InputFiles, ...] = ()
    permissions: Permissions = Permissions()


@dataclass(frozen=True, kw_only=True)
class Measure(_Task):
    """Run one evaluator on a packaged model at one rung; the result is a list of `Measurement`.

    Attributes:
        model: The package.
        runtime: What it runs with.
        evaluator: Name of the evaluator.
        params: Its parameters, as configured.
        rung: How much is measured.
        seconds: About how long it samples; None: as long as the evaluator needs.
        examples: How many examples it uses; None: all.
        block: Whether it is one of several processes whose measurements are pooled or compared.
        previous: What the rung before measured, by metric.
        reference: The baseline, for an evaluator that compares with it.
        data: The data sets (``DataCatalog.to_json()``); ``root`` is where relative paths start.
        inputs: Files that the job reads.
        permissions: What the job may do.
    """

    kind: ClassVar[str] = "measure"
    model: Annotated[Model, OwnJson()]
    runtime: Annotated[RuntimeSettings, OwnJson()]
    evaluator: str
    params: Mapping[str, Json]
    rung: Rung = Rung.FULL
    seconds: float | None = None
    examples: int | None = None
    block: bool = False
    previous: Mapping[str, Annotated[Measurement, OwnJson()]] = field(default_factory=dict)
    reference: Annotated[Model, OwnJson()] | None = None
    data: Mapping[str, Json]
    inputs: tuple[InputFiles, ...] = ()
    permissions: Permissions = Permissions()

    @property
    def name(self) -> str:
        """The evaluator's name."""
        return self.evaluator

    def value_to_json(self, value: Sequence[Measurement]) -> Json:
        """Return the JSON of measurements."""
        return [measured.to_json() for measured in value]

    def value_from_json(self, value: Json) -> list[Measurement]:
        """Return measurements."""
        return [Measurement.from_json(measured) for measured in value]


@dataclass(frozen=True)
class Call(_Task):
    """Call a function with JSON arguments; the result is what it returns, which must be JSON.

    Attributes:
        function: ``module:function``.
        args: By name.
        inputs: Files that the job reads.
    """

    kind: ClassVar[str] = "call"
    function: str
    args: Mapping[str, Json] = field(default_factory=dict)
    inputs: tuple[InputFiles, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function


Task = Build | Smoke | Measure | Call
TASKS: Mapping[str, type[Task]] = {each.kind: each for each in (Build, Smoke, Measure, Call)}
"""By their kinds."""


def task_from_json(value: Mapping[str, Json]) -> Task:
    """Read what a task's `to_json` wrote.

    Raises:
        UsageError: There is no such kind of task, or a field is wrong.
    """
    fields = dict(value)
    kind = fields.pop("kind", "")
    if kind not in TASKS:
        raise UsageError(f"no kind of job named {kind!r}", hint=nearest(kind, TASKS))
    try:
        task: Task = json_adapter(TASKS[kind]).validate_python(fields)
    except ValueError as error:
        raise UsageError(f"the job {kind!r} cannot be read: {error}") from error
    return task


_ADAPTERS: dict[Any, Any] = {}


def json_adapter(kind: Any) -> Any:
    """Return what writes and reads a dataclass as JSON (a `pydantic.TypeAdapter`), made once."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


@dataclass(frozen=True)
class Job:
    """One task for a worker process.

    Attributes:
        task: What is done.
        limits: Time and memory.
        log: File that the worker's output is appended to; None: thrown away.
        on_progress: Called in the parent for each `Progress` of the worker.
        turns: Socket where it is interleaved with other jobs, set by the target
            (`paretune.targets.interleave`); None: it runs by itself.
    """

    task: Task
    limits: Limits = Limits()
    log: Path | None = None
    on_progress: Callable[[Progress], None] | None = None
    turns: str | None = None

    @property
    def kind(self) -> str:
        """``build``, ``smoke``, ``measure`` or ``call``."""
        return self.task.kind


class JobStatus(StrEnum):
    """How a job ended; each but ``ok`` is also the outcome of the candidate it ran for."""

    OK = "ok"
    INVALID = "invalid"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class JobResult:
    """What came back from a job.

    Attributes:
        status: How it ended.
        value: If ``ok``: a `BuildResult`, a list of `Measurement`, or JSON, as the task says.
        reason: Why not, as text: exception type and message, signal's name, the limit hit.
        seconds: Wall time.
        peak_memory: Largest resident size seen of the process tree, in bytes.
        transient: True if the cause lay outside of the job (the disk was full, others held the
            memory, something killed it): the same job may end otherwise another time.
        limits: What was in force, the target's own limit of memory included.
        interference: CPU time that other processes used meanwhile, where the job ran; None: the
            job ran on this machine, and the parent watches it here.
        lost: Why the target could not be reached, so that the job did not start, or why the
            connection was lost while it ran (`ConnectionLostError`); it is ``transient``, too.
        waited: Seconds before it began, in which its machine was in use; not in `seconds`.
    """

    status: JobStatus
    value: Any = None
    reason: str | None = None
    seconds: float = 0.0
    peak_memory: int = 0
    transient: bool = False
    limits: Limits = Limits()
    interference: Interference | None = None
    lost: TargetLostError | None = None
    waited: float = 0.0


_ROOM_SHARE = 0.5
"""Share of the free memory that interleaved jobs may fill together."""


_LOADED, _RUNTIME_BYTES = 1.5, 400_000_000
"""A loaded model's size over its files' (prepacked weights lie beside them), and the rest."""


class TurnsEndedError(Exception):
    """A job ended before it had its turns.

    Attributes:
        number: Which of the jobs, from 0.
        result: How it ended.
    """

    def __init__(self, number: int, result: JobResult) -> None:
        super().__init__(f"job {number} ended: {result.status}: {result.reason}")
        self.number = number
        self.result = result


def fit_together(sizes: Sequence[int], free: int) -> bool:
    """Return whether models can all be loaded at the same time.

    Args:
        sizes: Bytes of each model's files.
        free: Bytes of memory that are free.
    """
    return sum(_LOADED * size + _RUNTIME_BYTES for size in sizes) <= _ROOM_SHARE * free
