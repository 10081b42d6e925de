"""The evaluator ``perplexity``: how surprised the model is by a text, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from paretune.evaluators.base import Budget
from paretune.evaluators.serving import log_softmax, open_session
from paretune.evaluators.statistics import CONFIDENCE
from paretune.measurement import Measurement, MetricSpec, Rung
from paretune.models import Model, ModelKind
from paretune.passes.base import Context, Params, Progress, parameter
from paretune.prompts import answer_ids, prompt_ids
from paretune.search.candidate import RuntimeSettings

_RESAMPLES = 2000
_ROUGH_WINDOWS = 3


class PerplexityParams(Params):
    """What text, and in which pieces."""

    data: str = parameter(..., "Data set with the text, such as `wiki`.", search="none")
    window: int = parameter(
        256, "Tokens that are scored together; each window begins anew.", unit="tokens",
        search="none", ge=2,
    )  # fmt: skip
    max_tokens: int = parameter(
        4096, "Tokens of the text that are used at most.", unit="tokens", search="none", ge=2
    )


class Perplexity:
    """Exponential of the mean negative log-likelihood per token.

    Plain text is joined and cut into windows; the first token of each is context only. Of data
    with prompts, only the answers' tokens count, each example being a window.
    """

    name: ClassVar[str] = "perplexity"
    version: ClassVar[int] = 2
    Params: ClassVar[type[Params]] = PerplexityParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.GENAI, ModelKind.HF})
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.ROUGH, Rung.FULL)
    fresh_process: ClassVar[bool] = False

    def __init__(self, params: PerplexityParams) -> None:
        self.params = params

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Perplexity."""
        return (MetricSpec("perplexity", "", "minimize", device=False),)

    @property
    def data(self) -> tuple[str, ...]:
        """The data set with the text."""
        return (self.params.data,)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Score every window; samples are the windows' mean negative log-likelihoods."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        windows = list(self._windows(session.tokenizer(), context.data.load(self.params.data)))
        if rung is Rung.ROUGH:
            windows = windows[:_ROUGH_WINDOWS]
        windows = windows[: budget.examples]
        sums, counts = [], []
        for n, (ids, scored_from) in enumerate(windows):
            context.progress(Progress(f"perplexity:{rung}", n, len(windows)))
            logs = log_softmax(session.sequence_logits(ids[:-1]))
            told = [float(logs[i - 1][ids[i]]) for i in range(scored_from, len(ids))]
            sums.append(-sum(told))
            counts.append(len(told))
        return [_measurement(sums, counts)]

    def _windows(self, tokenizer: Any, dataset: Any) -> Iterator[tuple[list[int], int]]:
        """Yield token ids, and the position from which they are scored."""
        left = self.params.max_tokens
        if any(example.prompt for example in dataset.examples):
            for example in dataset.examples:
                prompt = prompt_ids(tokenizer, example.prompt, dataset.chat)
                answer = answer_ids(tokenizer, example.answer, dataset.chat)[: max(0, left)]
                left -= len(answer)
                if answer and prompt:
                    yield prompt + answer, len(prompt)
            return
        text = "\n".join(example.answer for example in dataset.examples)
        ids = prompt_ids(tokenizer, text[: 40 * left], False)[:left]
        for start in range(0, len(ids), self.params.window):
            window = ids[start : start + self.params.window]
            if len(window) > 1:
                yield window, 1


def _measurement(sums: list[float], counts: list[int]) -> Measurement:
    import numpy as np

    n = sum(counts)
    mean = sum(sums) / n if n else math.inf
    if not n or mean > math.log(1e300) or math.isnan(mean):
        return Measurement("perplexity", None, "", n=n, protocol="windows-1",
                           reason="the mean log-likelihood is not finite" if n else
                           "no window of two tokens or more")  # fmt: skip
    a, b = np.asarray(sums), np.asarray(counts)
    drawn = np.random.default_rng(0).integers(0, len(a), (_RESAMPLES, len(a)))
    means = a[drawn].sum(axis=1) / b[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.exp(np.quantile(means, (tail, 1 - tail))))
    value = math.exp(mean)
    samples = tuple(s / c for s, c in zip(sums, counts, strict=True))
    # One window has no spread to tell an interval from.
    ends = (None, None) if len(sums) < 2 else (min(low, value), max(high, value))
    return Measurement(
        "perplexity", value, "", low=ends[0], high=ends[1], n=n, protocol="windows-1",
        samples=samples, details={"windows": len(sums)},
    )  # fmt: skip
