"""The evaluator ``exact_match``: does the generated answer equal the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paretune.core.candidate import RuntimeSettings
from paretune.core.measurement import MetricSpec
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.data.catalog import Dataset, Example
from paretune.data.context import Context
from paretune.data.example_tokens import ExampleEncoder
from paretune.evaluators.examples import ExampleEvaluator
from paretune.models.context_length import most_tokens
from paretune.runtimes.serving import open_session


class ExactMatchParams(Params):
    """What is compared, and how strictly."""

    data: str = parameter(..., "Data set to measure on, such as `qa.test`.", search="none")
    max_new_tokens: int = parameter(
        32, "Tokens generated at most.", unit="tokens", search="none", ge=1
    )
    ignore_case: bool = parameter(False, "Upper and lower case are the same.", search="none")
    rough_examples: int = parameter(
        32, "Examples at the rung `rough`.", unit="examples", search="none", ge=8
    )


class ExactMatch(ExampleEvaluator[bool]):
    """Share of examples whose greedily generated answer is the right one, but for outer space."""

    name = "exact_match"
    version = 2
    needs = ("generates",)
    Params = ExactMatchParams
    params: ExactMatchParams
    metrics = (MetricSpec("exact_match", "fraction", "maximize", device=False),)

    def judge(
        self, model: Model, runtime: RuntimeSettings, dataset: Dataset, context: Context
    ) -> Callable[[Example], bool]:
        """Return a function that generates and compares."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        tokenizer = session.tokenizer()
        encoder = ExampleEncoder(tokenizer, dataset.chat, self.params.data)
        end = encoder.answer(dataset.examples[0], "")
        most = most_tokens(model)
        room = None if most is None else most - self.params.max_new_tokens

        def is_right(example: Example) -> bool:
            ids, _ = encoder.fitted(example, room)
            answer = session.generate(ids, self.params.max_new_tokens)
            text = tokenizer.decode(before_end(answer, end), skip_special_tokens=True)
            return self._same(text, example.answer)

        return is_right

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
