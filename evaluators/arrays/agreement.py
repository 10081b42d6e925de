"""The evaluator ``agreement``: does the network answer as the baseline does."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import InvalidArtifactError
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.cells import NUMBERS
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.evaluators.arrays.network import baseline_network, network_of
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.examples import share, shuffled


class AgreementParams(Params):
    """What is compared."""

    data: str = parameter(..., "Data set of arrays, such as `files.test`.", search="none")
    output: str | None = parameter(
        None, "Output of the network; by default its only one.", search="none"
    )


class Agreement(EvaluatorBase):
    """Largest difference from the baseline's output, and share of rows with the same largest value.

    Needs no answers in the data. The largest value is looked for along the last axis: of an output
    with several positions all of them must agree. The baseline runs on the CPU.
    """

    name = "agreement"
    needs = ("runs",)
    Params = AgreementParams
    params: AgreementParams
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)
    # Part of the rows says too little of a largest difference.
    rungs = (Rung.FULL,)
    against_baseline = True
    metrics = (
        MetricSpec("max_abs_difference", "", "minimize", device=False),
        MetricSpec("top1_agreement", "fraction", "maximize", device=False),
    )

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Run both networks on the rows.

        Raises:
            InvalidArtifactError: One does not load or run, or their outputs have other shapes.
        """
        data = context.data.arrays(self.params.data)
        order = sorted(shuffled(len(data.rows), budget.examples))
        rows = [data.rows[n] for n in order]
        before: list[Any] = []
        with baseline_network(self.params.data, context) as baseline:
            if baseline is None:
                return self._without("there is no baseline that runs on arrays")
            for n, row in enumerate(rows):
                context.progress(Progress(f"{self.name}:baseline", n, len(rows)))
                before.append(baseline.output(row, self.params.output))
        network = network_of(model, runtime, self.params.data, context)
        differences, same = [], []
        for n, (row, right) in enumerate(zip(rows, before, strict=True)):
            context.progress(Progress(f"{self.name}:{rung}", n, len(rows)))
            found = network.output(row, self.params.output)
            if found.shape != right.shape:
                raise InvalidArtifactError(
                    f"its output has the shape {list(found.shape)} for row {row.row + 1} of "
                    f"{data.ref}, the baseline's has {list(right.shape)}"
                )
            if found.dtype.kind in NUMBERS:
                differences.append(_difference(found, right))
                if not math.isfinite(differences[-1]):
                    raise InvalidArtifactError(
                        f"its output is infinite for row {row.row + 1} of {data.ref} where the "
                        "baseline's is not, or the other way round"
                    )
            top = _same_top(found, right)
            if top is not None:
                same.append(top)
        details = Details(rows=tuple(order))
        return [self._largest(differences, details), self._top1(same, details)]

    def _largest(self, differences: list[float], details: Details) -> Measurement:
        if not differences:
            reason = "the output is text"
            return Measurement("max_abs_difference", None, "", protocol="maximum-1", reason=reason)
        return Measurement(
            "max_abs_difference",
            max(differences),
            "",
            n=len(differences),
            protocol="maximum-1",
            samples=tuple(differences),
            details=details,
        )

    def _top1(self, same: list[bool], details: Details) -> Measurement:
        if same and len(same) == len(details.rows or ()):
            return share("top1_agreement", same, details)
        reason = "the output is one number at each position, of which none is the largest"
        return Measurement("top1_agreement", None, "fraction", protocol="wilson-1", reason=reason)

    def _without(self, why: str) -> list[Measurement]:
        return [
            Measurement(spec.name, None, spec.unit, protocol="maximum-1", reason=why)
            for spec in self.metrics
        ]


def _difference(found: Any, right: Any) -> float:
    """Return the largest difference; equal infinities do not differ."""
    import numpy as np

    differs = found != right
    if not differs.any():
        return 0.0
    return float(np.abs(found[differs].astype(float) - right[differs].astype(float)).max())


def _same_top(found: Any, right: Any) -> bool | None:
    """Return whether the largest values are at the same places; None: there is but one value.

    Whole numbers and names that stand alone are classes themselves.
    """
    if found.ndim == 0 or found.shape[-1] < 2 or found.dtype.kind not in NUMBERS:
        return None if found.dtype.kind == "f" else bool((found == right).all())
    return bool((found.argmax(axis=-1) == right.argmax(axis=-1)).all())
