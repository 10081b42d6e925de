"""The evaluator ``classification``: which of the labels does the model find most likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import DataError
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.part import Part
from paretune.data.catalog import Dataset, Example
from paretune.data.context import Context
from paretune.data.example_tokens import ExampleEncoder
from paretune.evaluators.examples import ExampleEvaluator, share
from paretune.models.context_length import most_tokens
from paretune.runtimes.base import Session, score_continuations
from paretune.runtimes.serving import open_session
from paretune.stats.intervals import CONFIDENCE

_RESAMPLES = 1000


class ClassificationParams(Params):
    """What is classified."""

    data: str = parameter(..., "Data set to measure on, such as `tone.test`.", search="none")
    labels: list[str] | None = parameter(
        None, "The labels to choose from; by default the answers in the data.", search="none"
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


class Classification(ExampleEvaluator[int]):
    """Share of examples whose most likely label is the right one.

    A label's score is the summed log-probability of all its tokens and the end token, tokenized
    as in training. Examples are taken in one fixed shuffled order, so that the rung `rough` is a
    fair sample, and the rung `full` continues where it stopped.
    """

    name = "classification"
    version = 2
    needs = ("scores",)
    Params = ClassificationParams
    params: ClassificationParams
    metrics = (
        MetricSpec("accuracy", "fraction", "maximize", device=False),
        MetricSpec("macro_f1", "fraction", "maximize", device=False),
    )

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: Dataset, context: Context
    ) -> _Scorer:
        """Return what finds the position of the most likely label."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        labels = self._labels(dataset)
        return _Scorer(session, labels, dataset, self.params.data, most_tokens(model))

    def known(self, dataset: Dataset, previous: Mapping[str, Measurement]) -> dict[int, int]:
        """Return what the rung before found, if it chose from the same labels."""
        before = previous.get("accuracy")
        answers = None if before is None else before.details.part(Answers)
        if before is None or answers is None or answers.labels != list(self._labels(dataset)):
            return {}
        return dict(zip(before.details.rows or (), answers.predictions, strict=True))

    def measurements(
        self, dataset: Dataset, verdicts: Mapping[int, int], judge: _Scorer | None
    ) -> list[Measurement]:
        """Return accuracy with Wilson's interval and macro F1 with a bootstrap's."""
        labels, rows = self._labels(dataset), list(verdicts)
        truth = [_position(labels, dataset.examples[i].answer, self.params.data) for i in rows]
        mismatches = 0 if judge is None else judge.mismatches
        return _measurements(labels, rows, truth, list(verdicts.values()), mismatches)

    def _labels(self, dataset: Dataset) -> tuple[str, ...]:
        return tuple(self.params.labels or dataset.labels)


class _Scorer:
    """Scores prompts against labels that are tokenized once."""

    def __init__(
        self, session: Session, labels: Sequence[str], dataset: Dataset, ref: str, most: int | None
    ) -> None:
        self._session = session
        self._encoder = ExampleEncoder(session.tokenizer(), dataset.chat, ref)
        self._labels = [self._encoder.answer(dataset.examples[0], label) for label in labels]
        self._room = room_for_prompt(most, self._labels)
        self._own = getattr(session, "own_ids", None)
        self.mismatches = 0

    def __call__(self, example: Example) -> int:
        ids, fitted = self._encoder.fitted(example, self._room)
        if self._own is not None:
            self.mismatches += self._own(*self._encoder.rendered(fitted)) != ids
        scores = score_continuations(self._session, ids, self._labels)
        return max(range(len(scores)), key=scores.__getitem__)


def room_for_prompt(most: int | None, labels: Sequence[Sequence[int]]) -> int | None:
    """Return the most tokens of a prompt beside which every label can be scored.

    Args:
        most: Tokens that the model's context holds; None: unknown.
        labels: Token ids each.
    """
    return None if most is None else most - max(map(len, labels)) - 1


def _position(labels: Sequence[str], answer: str, ref: str) -> int:
    if answer not in labels:
        raise DataError(
            f"{ref}: the answer {answer!r} is none of the labels {', '.join(labels)}",
            hint="Add it to `labels:`, or leave `labels:` out.",
        )
    return labels.index(answer)


def _measurements(
    labels: Sequence[str],
    rows: Sequence[int],
    truth: Sequence[int],
    predicted: Sequence[int],
    mismatches: int,
) -> list[Measurement]:
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
    f1, f1_low, f1_high = _macro_f1(truth, predicted, len(labels))
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


def _macro_f1(
    truth: Sequence[int], predicted: Sequence[int], classes: int
) -> tuple[float, float, float]:
    """Return macro F1 (mean over the classes that occur) and its bootstrap interval."""
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
