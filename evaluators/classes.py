"""Accuracy and macro F1 of predicted classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paretune.core.details import Details
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.params import Params, parameter
from paretune.core.part import Part
from paretune.evaluators.examples import share
from paretune.stats.intervals import CONFIDENCE

_RESAMPLES = 1000
METRICS = (
    MetricSpec("accuracy", "fraction", "maximize", device=False),
    MetricSpec("macro_f1", "fraction", "maximize", device=False),
)


class ClassificationParams(Params):
    """What is classified."""

    data: str = parameter(..., "Data set to measure on, such as `tone.test`.", search="none")
    labels: list[str] | None = parameter(
        None,
        "The labels to choose from; by default the answers in the data. Of a network, the names "
        "of its classes in their order; by default answers are the numbers of classes.",
        search="none",
    )
    output: str | None = parameter(
        None, "Output of a network with the scores; by default its only one.", search="none"
    )
    form: Literal["texts", "arrays"] = parameter(
        "texts", "What the data set holds; set from the data set.", search="none"
    )
    rough_examples: int = parameter(
        48, "Examples at the rung `rough`.", unit="examples", search="none", ge=8
    )


@dataclass(frozen=True)
class Answers(Part):
    """What is kept with an accuracy.

    Attributes:
        labels: What was chosen from.
        confusion: Counts, by right label and then by predicted label.
        recall: Share of right answers of each label; None where no example has it.
        predictions: Number of the predicted label of each example.
        tokenizer_mismatches: Prompts that the package's own tokenizer turns into other tokens.
    """

    labels: list[str]
    confusion: list[list[int]]
    recall: Mapping[str, float | None]
    predictions: list[int]
    tokenizer_mismatches: int


def class_measurements(
    labels: Sequence[str],
    rows: Sequence[int],
    truth: Sequence[int],
    predicted: Sequence[int],
    mismatches: int,
) -> list[Measurement]:
    """Return accuracy with Wilson's interval and macro F1 with a bootstrap's.

    Args:
        labels: What was chosen from.
        rows: Numbers of the examples.
        truth: Position of the right label of each.
        predicted: Position of the predicted label of each.
        mismatches: Prompts that the package's own tokenizer turns into other tokens.
    """
    n = len(truth)
    # Samples in data order, so that two models can be paired whatever the order of measuring.
    by_row = sorted(zip(rows, truth, predicted, strict=True))
    confusion = [[0] * len(labels) for _ in labels]
    for t, p in zip(truth, predicted, strict=True):
        confusion[t][p] += 1
    recall = {
        label: row[i] / sum(row) if sum(row) else None
        for i, (label, row) in enumerate(zip(labels, confusion, strict=True))
    }
    answers = Answers(list(labels), confusion, recall, [p for _, _, p in by_row], mismatches)
    details = Details(rows=tuple(row for row, _, _ in by_row)).adding(answers)
    f1, f1_low, f1_high = macro_f1(truth, predicted, len(labels))
    return [
        share("accuracy", [t == p for _, t, p in by_row], details),
        Measurement(
            "macro_f1",
            f1,
            "fraction",
            f1_low,
            f1_high,
            n,
            "bootstrap-1",
            details=Details(of_rows=tuple(by_row)),
        ),
    ]


def macro_f1(
    truth: Sequence[int], predicted: Sequence[int], classes: int
) -> tuple[float, float, float]:
    """Return macro F1 (mean over the classes that occur) and its bootstrap interval.

    Args:
        truth: Right class of each example.
        predicted: Predicted class of each example.
        classes: How many there are.
    """
    import numpy as np

    def score(t: Any, p: Any) -> float:
        counts = np.bincount(t * classes + p, minlength=classes * classes).reshape(classes, classes)
        hit, total = np.diag(counts), counts.sum(0) + counts.sum(1)
        return float(np.mean(2 * hit[total > 0] / total[total > 0]))

    t, p = np.asarray(truth), np.asarray(predicted)
    drawn = np.random.default_rng(0).integers(0, len(t), (_RESAMPLES, len(t)))
    resampled = [score(t[d], p[d]) for d in drawn]
    tail = (1 - CONFIDENCE) / 2
    value = score(t, p)
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return value, min(float(low), value), max(float(high), value)
