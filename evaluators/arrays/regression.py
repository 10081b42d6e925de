"""The evaluator ``regression``: how far the network's numbers are from the right ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import InvalidArtifactError
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.model import Model
from paretune.core.part import Part
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.network import network_of, numbers
from paretune.evaluators.arrays.rows import RowEvaluator, RowParams, wrong_target
from paretune.evaluators.examples import averaged, resampled


@dataclass(frozen=True)
class Predicted(Part):
    """What is kept with a regression's error.

    Attributes:
        predictions: The network's numbers for each example.
    """

    predictions: list[list[float]]


class Regression(RowEvaluator[list[float]]):
    """Mean absolute error, root of the mean squared error, and R squared, by scikit-learn."""

    name = "regression"
    Params = RowParams
    params: RowParams
    packages = ("scikit-learn",)
    metrics = (
        MetricSpec("mae", "", "minimize", device=False),
        MetricSpec("rmse", "", "minimize", device=False),
        MetricSpec("r2", "", "maximize", device=False),
    )

    def check_rows(self, data: ArrayData) -> None:
        """Refuse answers that are no numbers, or are of different lengths.

        Raises:
            DataError: One is.
        """
        super().check_rows(data)
        count = len(_numbers(data.rows[0], data))
        for row in data.rows:
            if len(_numbers(row, data)) != count:
                raise wrong_target(self.name, data, row, f"{count} numbers, as in row 1")

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: ArrayData, context: Context
    ) -> Callable[[ArrayRow], list[float]]:
        """Return what computes the numbers of a row."""
        network = network_of(model, runtime, self.params.data, context)

        def predicted(row: ArrayRow) -> list[float]:
            output = numbers(network.output(row, self.params.output), self.name).astype(float)
            found = output.reshape(-1).tolist()
            if not all(map(math.isfinite, found)):
                raise InvalidArtifactError(
                    f"its output is infinite for row {row.row + 1} of {dataset.ref}"
                )
            right = _numbers(row, dataset)
            if len(found) != len(right):
                raise wrong_target(
                    self.name, dataset, row, f"as many numbers as the network gives: {len(found)}"
                )
            return list(found)

        return predicted

    def known(
        self, dataset: ArrayData, previous: Mapping[str, Measurement]
    ) -> dict[int, list[float]]:
        """Return what the rung before computed."""
        before = previous.get("mae")
        kept = None if before is None else before.details.part(Predicted)
        if before is None or kept is None:
            return {}
        return dict(zip(before.details.rows or (), kept.predictions, strict=True))

    def measurements(
        self, dataset: ArrayData, verdicts: Mapping[int, list[float]], judge: Any
    ) -> list[Measurement]:
        """Return the three errors with intervals by bootstrap over the rows."""
        import numpy as np

        rows = sorted(verdicts)
        truth = np.array([_numbers(dataset.rows[n], dataset) for n in rows])
        found = np.array([verdicts[n] for n in rows])
        each = np.abs(truth - found).mean(axis=1)
        details = Details(rows=tuple(rows)).adding(Predicted([verdicts[n] for n in rows]))
        mae = averaged("mae", "", each.tolist(), details)
        rmse = resampled("rmse", "", lambda drawn: _rmse(truth[drawn], found[drawn]), rows)
        if bool((truth == truth[0]).all()):
            reason = "the right answers are all the same, so that there is nothing to explain"
            r2 = Measurement("r2", None, "", n=len(rows), protocol="bootstrap-1", reason=reason)
            return [mae, rmse, r2]
        return [mae, rmse, resampled("r2", "", lambda drawn: _r2(truth[drawn], found[drawn]), rows)]


def _rmse(truth: Any, found: Any) -> float:
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(truth, found))


def _r2(truth: Any, found: Any) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(truth, found))


def _numbers(row: ArrayRow, data: ArrayData) -> Sequence[float]:
    import numpy as np

    try:
        found: list[float] = np.array(row.target, dtype=float).reshape(-1).tolist()
    except (TypeError, ValueError) as error:
        raise wrong_target("regression", data, row, "numbers") from error
    return found
