"""The contract of an evaluator: what it promises, and how it measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from paretune.core import params as declared
from paretune.core.candidate import RuntimeSettings
from paretune.core.energy import OpensMeter
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import NoParams, Params
from paretune.data.context import Context
from paretune.data.spec import TEXTS


class TurnClient(Protocol):
    """Asked before each piece of timing, where several jobs are interleaved."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait until no other job runs; the body of the context runs alone."""


@dataclass(frozen=True)
class Budget:
    """What one call of an evaluator may cost.

    Attributes:
        seconds: Stop sampling after about this long (the result then says how many samples).
        examples: Measure at most so many examples; None: all.
        block: True if this is one of many processes that are set against each other: only what they
            have in common is measured then, and what takes long by itself is left out (without a
            value, with that as its reason).
        turns: Others wait while this one times something, and it waits for them; None: it is alone.
        meter: Opens the device's counters of energy; None: they cannot be reached here.
    """

    seconds: float | None = None
    examples: int | None = None
    block: bool = False
    turns: TurnClient | None = None
    meter: OpensMeter | None = None


@runtime_checkable
class Evaluator(Protocol):
    """Yields measurements of a model.

    An evaluator is made with its parameters: ``Classification(Classification.Params(...))``.

    Attributes:
        name: As in the configuration.
        version: Raise it whenever the same model gives other numbers.
        Params: Its parameters.
        needs: Optional. What a session must do for it, of `paretune.runtimes.base.CAPABILITIES`
            (``("scores",)``); ``()``: nothing but that the model loads. Without it the search does
            not check this before it runs.
        rungs: The rungs it can measure at, cheapest first; the last one is its final word.
        params: This instance's parameters.
        metrics: What this instance yields (may depend on the parameters).
        fresh_process: True if it must run in a newly spawned process of its own.
        processes: Optional. In how many processes, one after another, its last rung is measured;
            1 where it is not given. What they measure is pooled (`paretune/stats/pooling.py`).
        protocol: Optional. Name and version of how it measures (``device-2``), as its measurements
            have it: what was measured by an earlier version of it is measured again.
        takes_turns: Optional. True if it asks `Budget.turns` before each bit of timing; otherwise
            it gets one turn for everything.
        prompts_by_metric: Optional. Of each metric that is a time to a first token in milliseconds,
            the tokens of its prompt: what the device's arithmetic bounds before a build.
        reads: Optional. What its data sets may hold: ``("texts",)``, which is meant where it is not
            given, ``("arrays",)`` or both. If it reads both and has a parameter `form`, this
            parameter is set to what its data set holds.
        against_baseline: Optional. True if it compares with the baseline, which is then in
            `Context.reference`.
        packages: Optional. Distributions that it needs beside the runtime's.
        check_rows: Optional. A method that is given each data set of arrays (`ArrayData`) before
            anything runs, and raises `DataError` where it cannot be measured on.
        energy_sources: Optional. The counters of energy that it reads by `Budget.meter` (an empty
            text: those that there are); None: none. A device without them is refused before a
            search.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Params: ClassVar[type[Params]]
    rungs: ClassVar[tuple[Rung, ...]]
    fresh_process: ClassVar[bool]
    params: Any

    def __init__(self, params: Any) -> None: ...

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What this instance yields."""

    @property
    def data(self) -> tuple[str, ...]:
        """References of the data sets it reads (``tone.test``); their digests join its key."""

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Measure; runs in the worker only.

        Args:
            model: The packaged model (or, for PyTorch, the Hugging Face folder).
            runtime: Provider and threads to run it with.
            rung: How much to measure. ``context.previous`` holds the rung before, to go on from.
            budget: What it may cost.
            context: Data, progress, flags; ``context.scratch`` for temporary files.

        Returns:
            One measurement a metric, those without a value included (with the reason).

        Raises:
            InvalidArtifactError: The model does not load or generate.
        """


class EvaluatorBase(ABC):
    """What most evaluators have in common; a subclass declares the rest (see `Evaluator`).

    A subclass sets `name` and `metrics` and writes `measure`. Without more it has no parameters,
    reads no data set, and measures once, at the last rung.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Params: ClassVar[type[declared.Params]] = NoParams
    needs: tuple[str, ...] | None = None
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.FULL,)
    fresh_process: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = (TEXTS,)
    against_baseline: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Any) -> None:
        self.params = params

    @property
    @abstractmethod
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What this instance yields; a tuple in the class where parameters do not change it."""

    @property
    def data(self) -> tuple[str, ...]:
        """The data set that its parameter `data` names, if it has one."""
        named = getattr(self.params, "data", None)
        return (named,) if named else ()

    @abstractmethod
    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Measure; see `Evaluator.measure`."""
