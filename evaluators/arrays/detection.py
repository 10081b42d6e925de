"""The evaluator ``detection``: boxes around things in images, by pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.model import Model
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.answers import AnswerEvaluator
from paretune.evaluators.arrays.rows import wrong_target
from paretune.evaluators.examples import resampled

_FORM = "a list of objects with `box` ([x, y, width, height]) and `label`"

Box: TypeAlias = tuple[list[float], str, float]
"""Box, label and score."""


class Detection(AnswerEvaluator[list[Box]]):
    """Mean average precision over overlaps from 0.5 to 0.95 in steps of 0.05 (COCO's metric)."""

    name = "detection"
    packages = ("pycocotools",)
    metrics = (MetricSpec("map_50_95", "fraction", "maximize", device=False),)

    def check_rows(self, data: ArrayData) -> None:
        """Refuse answers that are no boxes.

        Raises:
            DataError: One is, or no row has a box.
        """
        super().check_rows(data)
        found = [_boxes(row.target, scored=False) for row in data.rows]
        for row, boxes in zip(data.rows, found, strict=True):
            if boxes is None:
                raise wrong_target(self.name, data, row, _FORM)
        if not any(found):
            raise wrong_target(self.name, data, data.rows[0], "a box in one row at least")

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: ArrayData, context: Context
    ) -> Callable[[ArrayRow], list[Box]]:
        """Return what finds the boxes of a row."""
        answer = self.answers(model, runtime, context)

        def boxes(row: ArrayRow) -> list[Box]:
            returned = answer(row)
            found = _boxes(returned, scored=True)
            if found is None:
                raise self.not_an_answer(row, returned, f"{_FORM} and `score`")
            return found

        return boxes

    def known(
        self, dataset: ArrayData, previous: Mapping[str, Measurement]
    ) -> dict[int, list[Box]]:
        """Return nothing: boxes are not kept from one rung to the next."""
        return {}

    def measurements(
        self, dataset: ArrayData, verdicts: Mapping[int, list[Box]], judge: Any
    ) -> list[Measurement]:
        """Return the metric with an interval by bootstrap over the images."""
        rows = sorted(verdicts)
        right = [_boxes(dataset.rows[n].target, scored=False) or [] for n in rows]
        precision = mean_average_precision(right, [verdicts[n] for n in rows])
        if precision is None:
            reason = "none of these images has a box"
            return [
                Measurement(
                    "map_50_95", None, "fraction", n=len(rows), protocol="coco-1", reason=reason
                )
            ]
        return [resampled("map_50_95", "fraction", precision, rows, protocol="coco-1")]


def mean_average_precision(
    right: Sequence[Sequence[Box]], found: Sequence[Sequence[Box]]
) -> Callable[[Any], float] | None:
    """Return what computes COCO's mean average precision of drawn images.

    Args:
        right: The boxes of each image; their scores are not used.
        found: The boxes that the model finds in each.

    Returns:
        None where there is no right box. What it returns gives NaN where none was drawn.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = sorted({label for boxes in (*right, *found) for _, label, _ in boxes})
    numbers = {name: n for n, name in enumerate(names, start=1)}
    images = [{"id": n} for n in range(1, len(right) + 1)]
    categories = [{"id": n, "name": name} for name, n in numbers.items()]
    entries = {
        which: [
            {
                "id": 0,
                "image_id": n,
                "category_id": numbers[label],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "score": score,
            }
            for n, boxes in enumerate(each, start=1)
            for box, label, score in boxes
        ]
        for which, each in (("right", right), ("found", found))
    }
    if not entries["right"]:
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        sets = []
        for each in entries.values():
            for n, entry in enumerate(each, start=1):
                entry["id"] = n
            made = COCO()
            made.dataset = {"images": images, "categories": categories, "annotations": each}
            made.createIndex()
            sets.append(made)
        evaluation = COCOeval(*sets, "bbox")
        evaluation.params.areaRng = [evaluation.params.areaRng[0]]
        evaluation.params.areaRngLbl = [evaluation.params.areaRngLbl[0]]
        evaluation.evaluate()
    by_category = [
        evaluation.evalImgs[n : n + len(right)]
        for n in range(0, len(evaluation.evalImgs), len(right))
    ]

    def of_drawn(drawn: Any) -> float:
        again = copy.copy(evaluation)
        again.params = copy.copy(evaluation.params)
        again.params.imgIds = list(range(1, len(drawn) + 1))
        again._paramsEval = again.params
        again.evalImgs = [images[n] for images in by_category for n in drawn]
        with contextlib.redirect_stdout(io.StringIO()):
            again.accumulate()
        precision = again.eval["precision"][:, :, :, 0, -1]
        there = precision[precision > -1]
        return float(there.mean()) if there.size else math.nan

    return of_drawn


def _boxes(value: Any, *, scored: bool) -> list[Box] | None:
    """Return boxes, or None if they are none."""
    if not isinstance(value, (list, tuple)):
        return None
    found: list[Box] = []
    for each in value:
        try:
            box = [float(number) for number in each["box"]]
            label, score = each["label"], float(each["score"]) if scored else 1.0
        except (KeyError, TypeError, ValueError, IndexError):
            return None
        if len(box) != 4 or not all(map(math.isfinite, (*box, score))) or min(box[2:]) < 0:
            return None
        found.append((box, str(label), score))
    return found
