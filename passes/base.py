"""The contract of a pass, and what a pass gets: models, devices, its context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from paretune.core import params as declared
from paretune.core.estimate import DataSize, Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import NoParams, Params, Searchable, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.data.spec import TEXTS

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# What an author of a pass needs, from one place.
__all__ = [
    "Context",
    "DataSize",
    "Estimate",
    "Fidelity",
    "Model",
    "ModelInfo",
    "ModelKind",
    "NoParams",
    "Params",
    "Pass",
    "PassBase",
    "Progress",
    "Searchable",
    "parameter",
]


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
    pass without one is not compared with what it builds from, and a note says so. If it both
    translates and rounds, it may have ``sketch(model, params, context) -> tuple[Model, Model] |
    None``, which writes into ``context.scratch`` a small model of the same structure and its build
    in full precision: what rounding hides in the large model is seen in the small one; and
    ``sketched(params, provider)``, what that depends on beside the model, JSON-able.

    A pass whose runs can be stopped and continued has a method ``resumable(params) -> tuple[Params,
    float]``: the parameters of the same run without a stop, and the share of it after which these
    parameters stop (1.0: at its end). It keeps its states in ``context.checkpoints``; runs that
    differ in the stop only share them.

    A pass whose output depends on how fast this device computes (``context.kernel_times``) has a
    method ``device_matters(params) -> bool``: the device is then part of the cache key, and such a
    build is refused where another machine builds or measures.

    A pass that reads data sets of arrays says so by ``reads = ("arrays",)``, or both forms
    (`paretune.data.spec.FORMS`); without it they are texts.

    A pass that trains names the parameter that is its seed in ``Params.seeded_by``, so that a pick
    can be repeated with another one (`search: {repeat_pick: N}`).

    A pass whose work depends on what follows it in the recipe has a method ``look_ahead(params,
    following) -> params | str``. Of parameters as the configuration has them (`NEXT` where a value
    depends on the steps that follow) it returns what stands for them there, or why it cannot work
    before these steps. Candidates hold what it returns: it is part of the cache key, and steps
    before which it is the same share a build.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    accepts: ClassVar[frozenset[str]]
    produces: ClassVar[str]
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


class PassBase(ABC):
    """What most passes have in common; a subclass declares the rest (see `Pass`).

    A subclass sets `name`, `accepts`, `produces` and writes `run`. Without more it has no
    parameters, reads no data set, refuses nothing, costs an unknown amount, and its output has the
    facts of its input.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    accepts: ClassVar[frozenset[str]]
    produces: ClassVar[str]
    Params: ClassVar[type[declared.Params]] = NoParams
    packages: ClassVar[tuple[str, ...]] = ()
    provider_matters: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = (TEXTS,)

    def data(self, params: Any) -> tuple[str, ...]:
        """Return no data set: it reads none."""
        return ()

    def check(self, model: ModelInfo, params: Any, target: TargetInfo, provider: str) -> str | None:
        """Return None: it works on every model of the kinds that it accepts."""
        return None

    def estimate(self, model: ModelInfo, params: Any, target: TargetInfo) -> Estimate:
        """Return that the cost is unknown."""
        return Estimate()

    def predict(self, model: ModelInfo, params: Any) -> ModelInfo:
        """Return the facts of the input, with the new kind and the parameters."""
        return replace(model, kind=self.produces, built_with=params.model_dump(mode="json"))

    @abstractmethod
    def run(self, model: Model, params: Any, context: Context) -> None:
        """Write the new model into ``context.out``; see `Pass.run`."""
