"""The evaluator ``recognition``: texts that are read from images or sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.model import Model
from paretune.data.arrays import ArrayData, ArrayRow
from paretune.data.context import Context
from paretune.evaluators.arrays.answers import AnswerEvaluator
from paretune.evaluators.arrays.rows import wrong_target
from paretune.evaluators.examples import resampled, share


class Recognition(AnswerEvaluator[int]):
    """Share of texts that are read without a mistake, and the character error rate.

    The rate is the Levenshtein distance of all texts (rapidfuzz) over the length of all right
    ones, in characters; it can be more than 1.
    """

    name = "recognition"
    packages = ("rapidfuzz",)
    metrics = (
        MetricSpec("exact_match", "fraction", "maximize", device=False),
        MetricSpec("cer", "", "minimize", device=False),
    )

    def check_rows(self, data: ArrayData) -> None:
        """Refuse answers that are no texts.

        Raises:
            DataError: One is.
        """
        super().check_rows(data)
        for row in data.rows:
            if not isinstance(row.target, str):
                raise wrong_target(self.name, data, row, "text")

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: ArrayData, context: Context
    ) -> Callable[[ArrayRow], int]:
        """Return what counts the mistakes in a row's text."""
        from rapidfuzz.distance import Levenshtein

        answer = self.answers(model, runtime, context)

        def mistakes(row: ArrayRow) -> int:
            found = answer(row)
            if not isinstance(found, str):
                raise self.not_an_answer(row, found, "text")
            return int(Levenshtein.distance(found, str(row.target)))

        return mistakes

    def known(self, dataset: ArrayData, previous: Mapping[str, Measurement]) -> dict[int, int]:
        """Return the mistakes that the rung before counted."""
        before = previous.get("cer")
        if before is None or before.details.rows is None:
            return {}
        counts = (round(count) for count in before.samples)
        return dict(zip(before.details.rows, counts, strict=True))

    def measurements(
        self, dataset: ArrayData, verdicts: Mapping[int, int], judge: Any
    ) -> list[Measurement]:
        """Return both metrics; the samples of ``cer`` are the numbers of mistakes."""
        import numpy as np

        rows = sorted(verdicts)
        mistakes = np.array([verdicts[n] for n in rows], dtype=float)
        lengths = np.array([len(str(dataset.rows[n].target)) for n in rows], dtype=float)

        def rate(drawn: Any) -> float:
            return float(mistakes[drawn].sum() / lengths[drawn].sum())

        return [
            share("exact_match", [not verdicts[n] for n in rows], Details(rows=tuple(rows))),
            resampled("cer", "", rate, rows, samples=tuple(mistakes.tolist())),
        ]
