"""The evaluator ``custom``: a metric of the user's own, as ``module:function``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.code_files import code_of, from_source
from paretune.core.errors import UsageError
from paretune.core.measurement import Direction, Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.plugins import attribute
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.examples import averaged
from paretune.runtimes.serving import load_session


class CustomParams(Params):
    """Which function, and what its number means."""

    function: str = parameter(
        ...,
        "`module:function`; it is given the loaded session and the list of examples, and returns "
        "a number, or one for each example.",
        search="none",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
    )
    metric: str = parameter(..., "Name of the metric.", search="none", pattern=r"^[a-z][a-z0-9_]*$")
    direction: Direction = parameter("maximize", "minimize or maximize.", search="none")
    unit: str = parameter("", "Its unit.", search="none")
    device: bool = parameter(False, "True if it depends on the device's speed.", search="none")
    data: str | None = parameter(None, "Data set that the function is given.", search="none")


class Custom(EvaluatorBase):
    """Calls the user's function; only with --trust-remote-code."""

    name = "custom"
    Params = CustomParams
    params: CustomParams
    runs_user_code: ClassVar[bool] = True

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """The one that the configuration names."""
        p = self.params
        return (MetricSpec(p.metric, p.unit, p.direction, p.device, weights=True),)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Call the function; several numbers become their mean with a bootstrap interval.

        Raises:
            UsageError: Remote code is not trusted, or there is no such function.
        """
        if not context.trust_remote_code:
            raise UsageError(
                f"the metric {self.params.metric} runs {self.params.function}, and code that a "
                "configuration brings is off",
                hint="Allow it with --trust-remote-code.",
            )
        examples: Sequence[Any] = ()
        if self.params.data is not None:
            examples = context.data.load(self.params.data).examples[: budget.examples]
        with from_source(code_of(self.params.function.partition(":")[0])):
            function = _find(self.params.function)
            session = load_session(model, runtime, trust_remote_code=context.trust_remote_code)
            returned = function(session, list(examples))
        return [self._measurement(returned)]

    def _measurement(self, returned: Any) -> Measurement:
        several = isinstance(returned, (list, tuple))
        values = list(returned) if several else [returned]
        name, unit = self.params.metric, self.params.unit
        bad = [v for v in values if not isinstance(v, Real) or not math.isfinite(v)]
        if bad or not values:
            what = repr(bad[0])[:60] if bad else "no numbers"
            return Measurement(
                name,
                None,
                unit,
                protocol="custom-1",
                reason=f"{self.params.function} returned {what}",
            )
        numbers = [float(v) for v in values]
        if len(numbers) < 2:
            return Measurement(name, numbers[0], unit, n=1, protocol="custom-1")
        return averaged(name, unit, numbers, protocol="custom-1")


def _find(place: str) -> Any:
    try:
        return attribute(place)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"no function {place!r}: {error}",
            hint="It is looked for where Python finds modules: set PYTHONPATH to its folder.",
        ) from error
