"""The contract of a pass, and what a pass is told about models, devices and its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from paretune.models.handle import Model, ModelInfo, ModelKind

if TYPE_CHECKING:
    from paretune.data.catalog import DataCatalog
    from paretune.targets.base import TargetInfo

Searchable = Literal["range", "choice", "none"]


class Fidelity(StrEnum):
    """What a pass's output is to its input; each build is held to it (`paretune.core.fidelity`).

    ``fp32``, ``fp16``, ``bf16``: the same function, computed in that precision. ``quantized``: an
    approximation of it. ``changed``: another function on purpose (it was trained, pruned).
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    QUANTIZED = "quantized"
    CHANGED = "changed"


def parameter(
    default: Any,
    description: str,
    *,
    unit: str | None = None,
    search: Searchable = "choice",
    writes: bool = False,
    **constraints: Any,
) -> Any:
    """Declare one parameter of a pass.

    Args:
        default: Its default; ``...`` for a required one.
        description: What it means.
        unit: Its unit, if it has one.
        search: ``range``: a choice or a range (numbers); ``choice``: a list of values only;
            ``none``: one fixed value.
        writes: It names a file that is written. The content of a file that a parameter names
            counts as a part of the parameter otherwise.
        **constraints: pydantic's own (``ge``, ``le``, ...).

    Returns:
        A pydantic field whose JSON Schema carries ``unit`` and ``search``.
    """
    extra: dict[str, Any] = {"search": search}
    if unit is not None:
        extra["unit"] = unit
    if writes:
        extra["writes"] = True
    return Field(default, description=description, json_schema_extra=extra, **constraints)


class Params(BaseModel):
    """Base of every pass's parameters: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NoParams(Params):
    """A pass without parameters."""


@dataclass(frozen=True)
class Estimate:
    """What a pass is expected to cost; None means unknown.

    Attributes:
        bytes_out: Size of what it writes, in bytes.
        peak_memory: Peak resident memory of the job, in bytes.
        seconds: Wall time.
    """

    bytes_out: int | None = None
    peak_memory: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class DataSize:
    """How much there is in a data set.

    Attributes:
        examples: Number of examples.
        characters: Of all their texts together (prompts, answers).
    """

    examples: int
    characters: int


@dataclass(frozen=True)
class Progress:
    """A sign of life from a worker.

    Attributes:
        step: What runs (``lora``, ``classification:full``).
        done: Units done.
        total: Units in all; 0 if unknown.
        note: One short line, such as ``loss 1.23``.
    """

    step: str
    done: int
    total: int
    note: str = ""


def _silent(progress: Progress) -> None:
    del progress


@dataclass(frozen=True)
class Context:
    """A pass's surroundings in the worker.

    Attributes:
        out: An empty folder; what the pass leaves there is the new model.
        scratch: A folder for temporary files, removed afterwards.
        data: The configuration's data sets, by reference (``tone.train``).
        provider: The execution provider that the candidate will run on.
        progress: Call it now and then; at most about twice a second is shown.
        allow_network: False: nothing may be fetched.
        trust_remote_code: False: no code from a model's folder may run.
        previous: For evaluators: this evaluator's measurements of the rung before, by metric.
    """

    out: Path
    scratch: Path
    data: DataCatalog
    provider: str = "cpu"
    progress: Callable[[Progress], None] = _silent
    allow_network: bool = False
    trust_remote_code: bool = False
    previous: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Pass(Protocol):
    """Turns a model of one kind into a model of another (or the same).

    Attributes:
        name: As in the configuration.
        version: Part of the cache key: raise it whenever the same input gives another output.
        accepts: Kinds of model it takes.
        produces: Kind of model it makes.
        Params: Its parameters; every field documented through `parameter`.
        packages: Distributions whose versions are part of the cache key.
        provider_matters: True if what it builds depends on the execution provider.
        trains: True if it trains (its ranges become a finite grid; its runs are counted).
        seconds_on: Optional method ``seconds_on(model, params, target, size)``: the expected wall
            seconds, or None, where they depend on data; ``size`` gives the `DataSize` of a
            reference. What it returns replaces `Estimate.seconds`.

    It may also have a method ``fidelity(params) -> Fidelity``, what its output is to its input. A
    pass without one is not compared with what it builds from, and that is said. If it both
    translates and rounds, it may have ``sketch(model, params, context) -> tuple[Model, Model] |
    None``, which writes into ``context.scratch`` a small model of the same structure and its build
    in full precision: what rounding hides in the large model is seen in the small one; and
    ``sketched(params, provider)``, what that depends on beside the model, JSON-able.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    accepts: ClassVar[frozenset[ModelKind]]
    produces: ClassVar[ModelKind]
    Params: ClassVar[type[Params]]
    packages: ClassVar[tuple[str, ...]]
    provider_matters: ClassVar[bool]
    trains: ClassVar[bool]

    def data(self, params: Any) -> tuple[str, ...]:
        """Return references of the data sets it reads; their digests are part of the cache key."""

    def check(self, model: ModelInfo, params: Any, target: TargetInfo, provider: str) -> str | None:
        """Return why this cannot work on that model and provider, or None. Runs in the parent."""

    def estimate(self, model: ModelInfo, params: Any, target: TargetInfo) -> Estimate:
        """Return the expected cost. Runs in the parent: imports nothing heavy."""

    def predict(self, model: ModelInfo, params: Any) -> ModelInfo:
        """Return what the model will be afterwards, for the checks of the passes that follow."""

    def run(self, model: Model, params: Any, context: Context) -> None:
        """Write the new model into ``context.out``. Runs in the worker only.

        Raises:
            PassError: The parameters ask for what cannot be done.
            InvalidArtifactError: What was built does not load.
        """
