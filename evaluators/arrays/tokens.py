"""The evaluator ``token_classification``: the class of each token or position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import model_validator

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import UsageError
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.model import Model
from paretune.core.params import parameter
from paretune.core.part import Part
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.network import network_of, numbers
from paretune.evaluators.arrays.rows import RowEvaluator, RowParams, wrong_target
from paretune.evaluators.examples import resampled

IGNORED = -100
"""A position with this answer does not count, as with transformers."""


class TokenParams(RowParams):
    """What is measured on, and what the classes are."""

    labels: list[str] | None = parameter(
        None,
        "Names of the classes, in the order of the network's output; by default answers are their "
        "numbers.",
        search="none",
    )
    outside: str | None = parameter(
        "O",
        "Class of tokens that belong to nothing, which the F1 leaves out: a name in `labels`, or a "
        "number. null, or `O` where `labels` does not name it: every class counts.",
        search="none",
    )

    @model_validator(mode="after")
    def _known_outside(self) -> TokenParams:
        named, labels = self.outside, self.labels or []
        if named not in (None, "O", *labels) and not str(named).isdecimal():
            raise ValueError(
                f"outside: {named!r} is neither a number nor in `labels` ({', '.join(labels)})"
            )
        return self


@dataclass(frozen=True)
class Tokens(Part):
    """What is kept with an F1.

    Attributes:
        counts: Of each example: tokens of a class found rightly, found, and there.
    """

    counts: list[list[int]]


class TokenClassification(RowEvaluator[list[int]]):
    """F1 of the tokens' classes, over all tokens and every class but `outside` (micro-averaged).

    Answers are lists with a class of each token; -100 and null do not count.
    """

    name = "token_classification"
    Params = TokenParams
    params: TokenParams
    packages = ("scikit-learn",)
    metrics = (MetricSpec("token_f1", "fraction", "maximize", device=False),)

    def check_rows(self, data: ArrayData) -> None:
        """Refuse answers that are no lists of classes.

        Raises:
            DataError: One is, or every token of the data is outside.
        """
        super().check_rows(data)
        outside = self._outside()
        inside = [n for row in data.rows for n in self._right(row, data) if n != outside]
        if all(n == IGNORED for n in inside):
            raise wrong_target(self.name, data, data.rows[0], "a token that is not outside")

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: ArrayData, context: Context
    ) -> Callable[[ArrayRow], list[int]]:
        """Return what counts the tokens of a row: found rightly, found, there."""
        import numpy as np
        from sklearn.metrics import multilabel_confusion_matrix

        network = network_of(model, runtime, self.params.data, context)
        outside = self._outside()

        def counts(row: ArrayRow) -> list[int]:
            scores = numbers(network.output(row, self.params.output), self.name)
            right = np.array(self._right(row, dataset))
            if scores.ndim != 2:
                raise UsageError(
                    f"the output has the shape {list(scores.shape)} for one row; "
                    "token_classification takes a score of each class for each token",
                    hint="Name another output (`output:`).",
                )
            if len(scores) != len(right):
                raise wrong_target(
                    self.name, dataset, row, f"a class of each of the {len(scores)} positions"
                )
            classes = scores.shape[1]
            labels = self.params.labels
            if labels is not None and len(labels) != classes:
                raise UsageError(
                    f"the network has {classes} classes, and `labels` names {len(labels)}",
                    hint="Name each class, in the order of the network's output.",
                )
            if right.max(initial=0) >= classes:
                raise wrong_target(self.name, dataset, row, f"classes from 0 to {classes - 1}")
            counted = right != IGNORED
            inside = [n for n in range(classes) if n != outside]
            if not counted.any():
                return [0, 0, 0]
            tables = multilabel_confusion_matrix(
                right[counted], scores.argmax(axis=1)[counted], labels=inside
            ).sum(axis=0)
            (_, wrong), (missed, hit) = tables.tolist()
            return [hit, hit + wrong, hit + missed]

        return counts

    def known(
        self, dataset: ArrayData, previous: Mapping[str, Measurement]
    ) -> dict[int, list[int]]:
        """Return what the rung before counted."""
        before = previous.get("token_f1")
        kept = None if before is None else before.details.part(Tokens)
        if before is None or kept is None:
            return {}
        return dict(zip(before.details.rows or (), kept.counts, strict=True))

    def measurements(
        self, dataset: ArrayData, verdicts: Mapping[int, list[int]], judge: Any
    ) -> list[Measurement]:
        """Return the F1 with an interval by bootstrap over the examples."""
        import numpy as np

        rows = sorted(verdicts)
        counts = np.array([verdicts[n] for n in rows])

        def f1(drawn: Any) -> float:
            hit, found, there = counts[drawn].sum(axis=0)
            return float(2 * hit / (found + there)) if found + there else 0.0

        details = Details().adding(Tokens(counts.tolist()))
        return [resampled("token_f1", "fraction", f1, rows, details)]

    def _outside(self) -> int | None:
        named, labels = self.params.outside, self.params.labels or []
        if named is None:
            return None
        if named in labels:
            return labels.index(named)
        return int(named) if named.isdecimal() else None

    def _right(self, row: ArrayRow, data: ArrayData) -> list[int]:
        labels = self.params.labels
        if not isinstance(row.target, list):
            raise wrong_target(self.name, data, row, "a list with the class of each token")
        found = []
        for each in row.target:
            if each is None or each == IGNORED:
                found.append(IGNORED)
            elif isinstance(each, str) and labels is not None and each in labels:
                found.append(labels.index(each))
            elif isinstance(each, int) and each >= 0:
                found.append(each)
            else:
                expected = "numbers of classes" if labels is None else f"some of {labels}"
                raise wrong_target(self.name, data, row, f"{expected}, found {each!r}")
        return found
