"""Another package's kind of model, the pass that makes it, two runtimes that run it, an evaluator.

A model of the kind ``toy`` is a factor: its network multiplies its input with it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import InvalidArtifactError
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json, read_json
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.models.kinds.base import Kind
from paretune.passes.base import PassBase
from paretune.runtimes.base import RUNS, Runtime, SamplePrompt
from paretune.runtimes.serving import load_session
from paretune.runtimes.settings import BasicSettings, setting


class ToyKind(Kind):
    """A folder with ``toy.json``; a ``config.json`` may lie beside it."""

    name = "toy"
    folder = "a folder with toy.json"

    def matches(self, folder: Path) -> bool:
        return (folder / "toy.json").is_file()


class ToToyParams(Params):
    factor: float = parameter(2.0, "What inputs are multiplied with.", search="range")


class ToToy(PassBase):
    """Makes a toy out of any model."""

    name = "to_toy"
    accepts = frozenset({"hf", "toy"})
    produces = "toy"
    Params = ToToyParams

    def fidelity(self, params: ToToyParams) -> Fidelity:
        return Fidelity.CHANGED

    def run(self, model: Model, params: ToToyParams, context: Context) -> None:
        (context.out / "config.json").write_text("{}")
        (context.out / "toy.json").write_text(json.dumps({"factor": params.factor}))


@dataclass(frozen=True)
class ToySettings(BasicSettings):
    """How a toy is run."""

    rounding: Literal["none", "whole"] = setting("none", "Whether results are rounded.")


class ToySession:
    def __init__(self, factor: float, rounding: str) -> None:
        self._factor, self._rounding = factor, rounding
        self.inputs: Mapping[str, tuple[str, tuple[int | None, ...]]] = {"x": ("float32", (None,))}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        value = inputs["x"] * self._factor
        return {"y": value.round() if self._rounding == "whole" else value}


class ToyRuntime(Runtime):
    """Runs toys."""

    name: ClassVar[str] = "toy"
    kinds = frozenset({"toy"})
    offers = frozenset({RUNS})
    Settings: ClassVar[type[BasicSettings]] = ToySettings
    usage = "`python sample.py`"

    def load(self, model: Model, settings: RuntimeSettings, trust_remote_code: bool) -> ToySession:
        del trust_remote_code
        try:
            factor = read_json(model.path / "toy.json")["factor"]
        except KeyError as error:
            raise InvalidArtifactError("does not load: toy.json has no factor") from error
        return ToySession(factor, str(dict(settings.options).get("rounding", "none")))

    def load_s(self, folder: Path, settings: RuntimeSettings) -> float:
        start = time.perf_counter()
        self.load(Model("toy", folder, ""), settings, False)
        return time.perf_counter() - start

    def smoke(self, model: Model, session: Any) -> dict[str, Json]:
        import numpy as np

        return {"y": session.run({"x": np.ones(1)})["y"].tolist()}

    def configure(self, package: Path, settings: RuntimeSettings) -> None:
        (package / "toy_settings.json").write_text(json.dumps(settings.settings))

    def sample_program(self, sample: SamplePrompt) -> str:
        del sample
        return "import json; print(json.load(open('toy.json'))['factor'])\n"


class ToyTwin(ToyRuntime):
    """Runs toys, and has no settings of its own."""

    name = "toy_twin"
    Settings = BasicSettings


class ToyAnswer(EvaluatorBase):
    """What a toy answers to 1.4."""

    name = "toy_answer"
    needs = ("runs",)
    metrics = (MetricSpec("toy_answer", "1", "minimize", device=False),)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        import numpy as np

        session = load_session(model, runtime, trust_remote_code=context.trust_remote_code)
        value = float(session.run({"x": np.array([1.4])})["y"][0])
        return [Measurement("toy_answer", value, "1", value, value, 1, "toy-1")]
