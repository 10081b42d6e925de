"""Classification of arrays: the class to which the network gives the highest score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import DataError, UsageError
from paretune.core.measurement import Measurement
from paretune.core.model import Model
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.chosen import chosen_class, is_class
from paretune.evaluators.arrays.network import network_of, numbers
from paretune.evaluators.arrays.rows import RowEvaluator, wrong_target
from paretune.evaluators.classes import METRICS, Answers, ClassificationParams, class_measurements


class ArrayClassification(RowEvaluator[str]):
    """Share of rows whose class with the highest score is the right one.

    The output is a score of each class, or the class itself (a whole number or a name, as
    networks converted from scikit-learn give it).
    """

    name = "classification"
    Params = ClassificationParams
    params: ClassificationParams
    metrics = METRICS

    def check_rows(self, data: ArrayData) -> None:
        """Refuse answers that are no classes.

        Raises:
            DataError: An answer is missing, neither a number nor a name, or none of the labels.
        """
        super().check_rows(data)
        for row in data.rows:
            class_of(row, data, self.params.labels)

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: ArrayData, context: Context
    ) -> Callable[[ArrayRow], str]:
        """Return what finds the class of a row."""
        network = network_of(model, runtime, self.params.data, context)
        return lambda row: self._predicted(network.output(row, self.params.output), row, dataset)

    def known(self, dataset: ArrayData, previous: Mapping[str, Measurement]) -> dict[int, str]:
        """Return what the rung before found."""
        before = previous.get("accuracy")
        answers = None if before is None else before.details.part(Answers)
        if before is None or answers is None:
            return {}
        found = (answers.labels[place] for place in answers.predictions)
        return dict(zip(before.details.rows or (), found, strict=True))

    def measurements(
        self, dataset: ArrayData, verdicts: Mapping[int, str], judge: Any
    ) -> list[Measurement]:
        """Return accuracy with Wilson's interval and macro F1 with a bootstrap's."""
        right = [class_of(dataset.rows[n], dataset, self.params.labels) for n in verdicts]
        predicted = list(verdicts.values())
        labels = sorted({*right, *predicted})  # what does not occur changes nothing
        place = {label: n for n, label in enumerate(labels)}
        return class_measurements(
            labels, list(verdicts), [place[c] for c in right], [place[c] for c in predicted], 0
        )

    def _predicted(self, scores: Any, row: ArrayRow, data: ArrayData) -> str:
        labels = self.params.labels
        if is_class(scores):
            return chosen_class(scores, labels)
        flat = numbers(scores, self.name).reshape(-1)
        if (scores.ndim > 1 and max(scores.shape) != scores.size) or flat.size < 2:
            raise UsageError(
                f"the output has the shape {list(scores.shape)} for one row; classification takes "
                "a score of each of several classes, or one whole number",
                hint="Name another output (`output:`), or measure with `custom`.",
            )
        if labels is not None and len(labels) != flat.size:
            raise UsageError(
                f"the network has {flat.size} classes, and `labels` names {len(labels)}",
                hint="Name each class, in the order of the network's output.",
            )
        self._in_range(row, data, flat.size)
        return chosen_class(scores, labels)

    def _in_range(self, row: ArrayRow, data: ArrayData, classes: int) -> None:
        right = class_of(row, data, self.params.labels)
        if self.params.labels is None and not (right.isdecimal() and int(right) < classes):
            raise wrong_target(
                self.name, data, row, f"the number of a class, 0 to {classes - 1}, or `labels:`"
            )


def class_of(row: ArrayRow, data: ArrayData, labels: list[str] | None) -> str:
    """Return the right class of a row: its name where labels are given, else its number.

    Args:
        row: The row.
        data: Its data set, for messages.
        labels: Names of the classes in the order of the network's output.

    Raises:
        DataError: It is neither a number nor a name, or not among the labels.
    """
    target = row.target
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if isinstance(target, bool):
        target = int(target)
    if isinstance(target, float) and target.is_integer():
        target = int(target)
    if not isinstance(target, (int, str)):
        raise wrong_target("classification", data, row, "the number or the name of a class")
    name = str(target)
    if labels is None or name in labels:
        return name
    if name.isdecimal() and int(name) < len(labels):
        return labels[int(name)]
    raise DataError(
        f"{data.ref}: row {row.row + 1} has the answer {name!r}, which is not in `labels:`",
        hint=f"There are {len(labels)} labels: {', '.join(labels[:20])}.",
    )
