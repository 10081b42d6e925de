"""The evaluator ``exact_match``: does the generated answer equal the right one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model, ModelKind
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.data.example_tokens import ExampleEncoder
from paretune.evaluators.base import Budget
from paretune.models.context_length import most_tokens
from paretune.runtimes.serving import open_session
from paretune.stats.intervals import wilson


class ExactMatchParams(Params):
    """What is compared, and how strictly."""

    data: str = parameter(..., "Data set to measure on, such as `qa.test`.", search="none")
    max_new_tokens: int = parameter(
        32, "Tokens generated at most.", unit="tokens", search="none", ge=1
    )
    ignore_case: bool = parameter(False, "Upper and lower case are the same.", search="none")
    rough_examples: int = parameter(
        32, "Examples of the first, rough look.", unit="examples", search="none", ge=8
    )


class ExactMatch:
    """Share of examples whose greedily generated answer is the right one, but for outer space."""

    name: ClassVar[str] = "exact_match"
    version: ClassVar[int] = 2
    Params: ClassVar[type[Params]] = ExactMatchParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.GENAI, ModelKind.HF})
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.ROUGH, Rung.FULL)
    fresh_process: ClassVar[bool] = False

    def __init__(self, params: ExactMatchParams) -> None:
        self.params = params

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """The share."""
        return (MetricSpec("exact_match", "fraction", "maximize", device=False),)

    @property
    def data(self) -> tuple[str, ...]:
        """The data set it measures on."""
        return (self.params.data,)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Generate and compare; samples are 0 or 1 in data order, with Wilson's interval."""
        dataset = context.data.load(self.params.data)
        order = list(range(len(dataset.examples)))
        random.Random(0).shuffle(order)
        if rung is Rung.ROUGH:
            order = order[: self.params.rough_examples]
        order = order[: budget.examples]
        before = context.previous.get("exact_match")
        done: dict[int, float] = {}
        if before is not None:
            done = dict(zip(before.details["rows"], before.samples, strict=True))
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        tokenizer = session.tokenizer()
        encoder = ExampleEncoder(tokenizer, dataset.chat, self.params.data)
        end = encoder.answer(dataset.examples[0], "")
        most = most_tokens(model)
        room = None if most is None else most - self.params.max_new_tokens
        for n, index in enumerate(order):
            if index in done:
                continue
            context.progress(Progress(f"exact_match:{rung}", n, len(order)))
            example = dataset.examples[index]
            ids, _ = encoder.fitted(example, room)
            answer = session.generate(ids, self.params.max_new_tokens)
            text = tokenizer.decode(before_end(answer, end), skip_special_tokens=True)
            done[index] = float(self._same(text, example.answer))
        rows = sorted(order)
        samples = tuple(done[row] for row in rows)
        low, high = wilson(int(sum(samples)), len(samples))
        return [
            Measurement(
                "exact_match",
                sum(samples) / len(samples),
                "fraction",
                low,
                high,
                len(samples),
                "wilson-1",
                samples,
                details={"rows": rows},
            )
        ]

    def _same(self, generated: str, right: str) -> bool:
        a, b = generated.strip(), right.strip()
        return a.casefold() == b.casefold() if self.params.ignore_case else a == b


def before_end(generated: Sequence[int], end: Sequence[int]) -> Sequence[int]:
    """Return what was generated up to where an answer ends.

    A chat template's end of turn need not be among the tokens at which generation stops.
    """
    if end:
        for place in range(len(generated) - len(end) + 1):
            if list(generated[place : place + len(end)]) == list(end):
                return generated[:place]
    return generated
