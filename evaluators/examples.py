"""What evaluators that judge one example after another have in common."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.catalog import Dataset, Example
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.stats.intervals import bootstrap, bootstrap_mean, jackknife_scores, wilson

Data = TypeVar("Data")
Item = TypeVar("Item")
Verdict = TypeVar("Verdict")


class JudgingEvaluator(EvaluatorBase, Generic[Data, Item, Verdict]):
    """Judges the examples of a data set one by one, whatever an example is.

    `ExampleEvaluator` is this for texts, `paretune.evaluators.arrays.rows.RowEvaluator` for arrays.
    """

    rungs = (Rung.ROUGH, Rung.FULL)

    @abstractmethod
    def read(self, context: Context) -> tuple[Data, Sequence[Item]]:
        """Return the data set and its examples."""

    @abstractmethod
    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: Data, context: Context
    ) -> Callable[[Item], Verdict]:
        """Load the model, and return the function that judges an example.

        It is not called where the rung before has judged every example already.

        Args:
            model: The packaged model.
            runtime: Provider and threads to run it with.
            dataset: Whose examples will be judged.
            context: Data, progress, flags.
        """

    def known(self, dataset: Data, previous: Mapping[str, Measurement]) -> dict[int, Any]:
        """Return the verdicts of the rung before, by the number of the example.

        Args:
            dataset: Whose examples were judged.
            previous: What was measured at the rung before, by metric.
        """
        before = previous.get(self.metrics[0].name)
        if before is None or before.details.rows is None:
            return {}
        return dict(zip(before.details.rows, before.samples, strict=True))

    def measurements(
        self, dataset: Data, verdicts: Mapping[int, Verdict], judge: Any
    ) -> list[Measurement]:
        """Return the share of right verdicts, with Wilson's interval.

        Samples are 0 or 1 in the order of the data, so that two models can be paired.

        Args:
            dataset: Whose examples were judged.
            verdicts: By the number of the example, in the order of judging.
            judge: What `judge` returned; None if no example was left to judge.
        """
        rows = sorted(verdicts)
        right = [bool(verdicts[row]) for row in rows]
        return [share(self.metrics[0].name, right, Details(rows=tuple(rows)))]

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Judge the examples of a rung that no rung before has judged, and measure over all."""
        dataset, examples = self.read(context)
        most = self.params.rough_examples if rung is Rung.ROUGH else None
        order = shuffled(len(examples), most, budget.examples)
        done, judge = self.known(dataset, context.previous), None
        for n, index in enumerate(order):
            if index not in done:
                judge = judge or self.judge(model, runtime, dataset, context)
                context.progress(Progress(f"{self.name}:{rung}", n, len(order)))
                done[index] = judge(examples[index])
        return self.measurements(dataset, {index: done[index] for index in order}, judge)


class ExampleEvaluator(JudgingEvaluator[Dataset, Example, Verdict]):
    """Judges the examples of a data set of texts one by one.

    A subclass writes `judge` and declares parameters with `data` (the data set's reference) and
    `rough_examples` (how many examples the rough rung takes). Examples are taken in one fixed
    shuffled order, so that the rough rung is a fair sample; the full rung goes on where the rough
    one stopped. Where a verdict is right or wrong and there is one metric, that is all; otherwise
    a subclass replaces `known` and `measurements` too.
    """

    def read(self, context: Context) -> tuple[Dataset, Sequence[Example]]:
        """Return the data set that the parameter `data` names."""
        dataset = context.data.load(self.params.data)
        return dataset, dataset.examples


def share(metric: str, right: Sequence[bool], details: Mapping[str, Json]) -> Measurement:
    """Return a share of right answers, with Wilson's interval.

    Args:
        metric: Its name.
        right: Of each example, in the order of the data.
        details: Which examples they are (`rows`), and what else to keep.
    """
    count, n = sum(right), len(right)
    low, high = wilson(count, n)
    samples = tuple(map(float, right))
    return Measurement(
        metric, count / n, "fraction", low, high, n, "wilson-1", samples, None, details
    )


def averaged(
    metric: str,
    unit: str,
    values: Sequence[float],
    details: Details | None = None,
    protocol: str = "bootstrap-1",
) -> Measurement:
    """Return a mean over examples with its bootstrap interval, which is made to hold the value.

    Args:
        metric: Its name.
        unit: Of the values.
        values: Of each example, in the order of the data.
        details: Which examples they are (`rows`), and what else to keep.
        protocol: Name and version of how they were measured.
    """
    value, n = sum(values) / len(values), len(values)
    low, high = bootstrap_mean(values)
    ends, kept = (min(low, value), max(high, value)), details or Details()
    return Measurement(metric, value, unit, *ends, n, protocol, tuple(values), details=kept)


def resampled(
    metric: str,
    unit: str,
    statistic: Callable[[Any], float],
    rows: Sequence[int],
    details: Details | None = None,
    **more: Any,
) -> Measurement:
    """Return a statistic of examples with its bootstrap interval, which is made to hold the value.

    Args:
        metric: Its name.
        unit: Of value and interval.
        statistic: Takes an array of positions in `rows`, some of them several times.
        rows: Which examples there are, in the order of the data.
        details: What else to keep.
        **more: Further fields of the measurement; `protocol` is ``bootstrap-1`` otherwise.
    """
    import numpy as np

    n = len(rows)
    value = statistic(np.arange(n))
    low, high = bootstrap(statistic, n)
    scores = jackknife_scores(statistic, value, n)
    kept = replace(details or Details(), rows=tuple(rows), scores=scores)
    fields = {"protocol": "bootstrap-1", "details": kept, **more}
    return Measurement(metric, value, unit, min(low, value), max(high, value), n, **fields)


def shuffled(count: int, *most: int | None) -> list[int]:
    """Return the numbers of examples in the fixed order in which they are taken.

    Args:
        count: How many there are.
        *most: Each a limit on how many are taken; None: no limit.
    """
    order = list(range(count))
    random.Random(0).shuffle(order)
    return order[: min((count, *(limit for limit in most if limit is not None)))]
