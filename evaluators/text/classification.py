"""Classification of texts: which of the labels does the model find most likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import DataError
from paretune.core.measurement import Measurement
from paretune.core.model import Model
from paretune.data.catalog import Dataset, Example
from paretune.data.context import Context
from paretune.data.example_tokens import ExampleEncoder
from paretune.evaluators.classes import METRICS, Answers, ClassificationParams, class_measurements
from paretune.evaluators.examples import ExampleEvaluator
from paretune.models.context_length import most_tokens
from paretune.runtimes.base import Session, score_continuations
from paretune.runtimes.serving import open_session


class TextClassification(ExampleEvaluator[int]):
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
    metrics = METRICS

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
        return class_measurements(labels, rows, truth, list(verdicts.values()), mismatches)

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
