"""The evaluator ``embedding``: which rows are near each other, and near the baseline's."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import DataError, InvalidArtifactError, UsageError
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.evaluators.arrays.network import Network, baseline_network, network_of, numbers
from paretune.evaluators.arrays.rows import require_answers
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.examples import averaged, share, shuffled

_MASK = "attention_mask"


class EmbeddingParams(Params):
    """What is measured on, and how an output becomes a vector."""

    data: str = parameter(
        ...,
        "Data set of arrays; rows with the same answer (`target`) belong together.",
        search="none",
    )
    output: str | None = parameter(
        None, "Output of the network; by default its only one.", search="none"
    )
    pooling: Literal["mean", "cls"] = parameter(
        "mean",
        "How the vectors of tokens become one: their mean where attention_mask is 1, or the first.",
        search="none",
    )


class Embedding(EvaluatorBase):
    """Retrieval of each row among all others by the cosine of their vectors.

    A row whose answer another row has is a query; what has the same answer is what should be
    found. The baseline runs on the CPU.
    """

    name = "embedding"
    needs = ("runs",)
    Params = EmbeddingParams
    params: EmbeddingParams
    packages = ("scikit-learn",)
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)
    # Among fewer rows the right one is found more easily: there is no rough rung.
    rungs = (Rung.FULL,)
    against_baseline = True
    metrics = (
        MetricSpec("ndcg_at_10", "fraction", "maximize", device=False),
        MetricSpec("recall_at_1", "fraction", "maximize", device=False),
        MetricSpec("cosine_to_baseline", "", "maximize", device=False),
    )

    def check_rows(self, data: ArrayData) -> None:
        """Refuse a data set in which no two rows belong together.

        Raises:
            DataError: None do, or there are fewer than three rows.
        """
        require_answers(self.name, data)
        if not _queries(data.rows) or len(data.rows) < 3:
            raise DataError(
                f"{data.ref}: embedding needs three rows or more, and two with the same answer",
                hint="`target` names the column whose equal values say what belongs together. Keep "
                "such rows on one side of a split: `split: {group: COLUMN}`.",
            )

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Compute the vectors of all rows, and compare them.

        Raises:
            InvalidArtifactError: The network does not load or run, or gives vectors of length 0.
        """
        import numpy as np
        from sklearn.metrics import ndcg_score

        data = context.data.arrays(self.params.data)
        order = sorted(shuffled(len(data.rows), budget.examples))
        rows = [data.rows[n] for n in order]
        with baseline_network(self.params.data, context) as baseline:
            before = (
                None if baseline is None else self._vectors(baseline, rows, "baseline", context)
            )
        network = network_of(model, runtime, self.params.data, context)
        vectors = self._vectors(network, rows, str(rung), context)
        near = vectors @ vectors.T
        gains, first, queries = [], [], _queries(rows)
        for n in queries:
            others = np.array([m for m in range(len(rows)) if m != n])
            right = np.array([rows[m].target == rows[n].target for m in others], dtype=float)
            scores = near[n, others]
            gains.append(float(ndcg_score([right], [scores], k=10)))
            first.append(bool(right[scores.argmax()]))
        details = Details(rows=tuple(order[n] for n in queries))
        found = [_mean("ndcg_at_10", gains, "fraction", details)]
        found.append(
            share("recall_at_1", first, details)
            if first
            else _without("recall_at_1", "fraction", "no two of these rows belong together")
        )
        if before is None:
            why = "there is no baseline that runs on arrays"
            found.append(_without("cosine_to_baseline", "", why))
        elif before.shape != vectors.shape:
            raise InvalidArtifactError(
                f"its vectors have {vectors.shape[1]} numbers, the baseline's {before.shape[1]}"
            )
        else:
            cosines = np.clip((vectors * before).sum(axis=1), -1.0, 1.0).tolist()
            found.append(_mean("cosine_to_baseline", cosines, "", Details(rows=tuple(order))))
        return found

    def _vectors(self, network: Network, rows: list[ArrayRow], what: str, context: Context) -> Any:
        """Return a vector of length 1 for each row, shape (rows, numbers)."""
        import numpy as np

        found = []
        for n, row in enumerate(rows):
            context.progress(Progress(f"{self.name}:{what}", n, len(rows)))
            value = numbers(network.output(row, self.params.output), self.name).astype(np.float64)
            if value.ndim == 2:
                value = self._pooled(value, row)
            if value.ndim != 1:
                raise UsageError(
                    f"the output has the shape {list(value.shape)} for one row; embedding takes "
                    "one vector, or one for each token",
                    hint="Name another output (`output:`).",
                )
            length = float(np.linalg.norm(value))
            if not length or not np.isfinite(length):
                raise InvalidArtifactError(
                    f"its vector for row {row.row + 1} of {self.params.data} has the length "
                    f"{length:g}"
                )
            found.append(value / length)
        return np.stack(found)

    def _pooled(self, tokens: Any, row: ArrayRow) -> Any:
        if self.params.pooling == "cls":
            return tokens[0]
        mask = row.inputs.get(_MASK)
        counted = tokens if mask is None or len(mask) != len(tokens) else tokens[mask > 0]
        return counted.mean(axis=0)


def _queries(rows: Any) -> list[int]:
    """Return the numbers of the rows that belong to another one."""
    known: dict[str, int] = {}
    for row in rows:
        known[repr(row.target)] = known.get(repr(row.target), 0) + 1
    return [n for n, row in enumerate(rows) if known[repr(row.target)] > 1]


def _mean(name: str, values: list[float], unit: str, details: Details) -> Measurement:
    if not values:
        return _without(name, unit, "no two of these rows belong together")
    return averaged(name, unit, values, details)


def _without(name: str, unit: str, why: str) -> Measurement:
    return Measurement(name, None, unit, protocol="bootstrap-1", reason=why)
