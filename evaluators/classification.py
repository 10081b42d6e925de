"""The evaluator ``classification``, of texts or of arrays, as its data set holds them."""

from __future__ import annotations

from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.data.arrays import ArrayData
from paretune.data.context import Context
from paretune.data.spec import ARRAYS, TEXTS
from paretune.evaluators.arrays.classification import ArrayClassification
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.classes import METRICS, ClassificationParams
from paretune.evaluators.text.classification import TextClassification


class Classification(EvaluatorBase):
    """Share of examples whose likeliest class is the right one.

    A language model scores the labels as continuations of a text (`TextClassification`); a network
    gives a score of each class (`ArrayClassification`).
    """

    name = "classification"
    version = 2
    Params = ClassificationParams
    params: ClassificationParams
    metrics = METRICS
    rungs = (Rung.ROUGH, Rung.FULL)
    reads = (TEXTS, ARRAYS)

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        of_arrays = self.params.form == ARRAYS
        self._of = ArrayClassification(params) if of_arrays else TextClassification(params)
        self.needs = self._of.needs

    def check_rows(self, data: ArrayData) -> None:
        """See `ArrayClassification.check_rows`."""
        ArrayClassification(self.params).check_rows(data)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Measure by the evaluator of what the data set holds."""
        return self._of.measure(model, runtime, rung, budget, context)
