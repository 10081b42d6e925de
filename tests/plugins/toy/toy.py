"""Another package's pass that makes models of the kind ``factor``, and what measures them.

The kind and its runtime ``multiply`` are those of ``docs/extending.md``.
"""

from __future__ import annotations

import json

from my_package.multiply import Multiply

from paretune.core.candidate import RuntimeSettings
from paretune.core.fidelity import Fidelity
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.passes.base import PassBase
from paretune.runtimes.serving import load_session
from paretune.runtimes.settings import BasicSettings


class ToFactorParams(Params):
    factor: float = parameter(2.0, "What inputs are multiplied with.", search="range")


class ToFactor(PassBase):
    """Makes a model of the kind factor out of any model."""

    name = "to_factor"
    accepts = frozenset({"hf", "factor"})
    produces = "factor"
    Params = ToFactorParams

    def fidelity(self, params: ToFactorParams) -> Fidelity:
        return Fidelity.CHANGED

    def run(self, model: Model, params: ToFactorParams, context: Context) -> None:
        (context.out / "config.json").write_text("{}")
        (context.out / "factor.json").write_text(json.dumps({"factor": params.factor}))


class Twin(Multiply):
    """Runs models of the kind factor, and has no settings of its own."""

    name = "twin"
    Settings = BasicSettings


class Answer(EvaluatorBase):
    """The output for the input 1.4."""

    name = "answer"
    needs = ("runs",)
    metrics = (MetricSpec("answer", "1", "minimize", device=False),)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        import numpy as np

        session = load_session(model, runtime, trust_remote_code=context.trust_remote_code)
        value = float(session.run({"x": np.array([1.4])})["y"][0])
        return [Measurement("answer", value, "1", value, value, 1, "answer-1")]
