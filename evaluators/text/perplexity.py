"""The evaluator ``perplexity``: how surprised the model is by a text, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.data.example_tokens import ExampleEncoder
from paretune.data.prompts import prompt_ids
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.examples import shuffled
from paretune.models.context_length import most_tokens
from paretune.runtimes.base import log_softmax
from paretune.runtimes.serving import open_session
from paretune.stats.intervals import student_t

_ROUGH_WINDOWS = 8


class PerplexityParams(Params):
    """What text, and in which pieces."""

    data: str = parameter(..., "Data set with the text, such as `wiki`.", search="none")
    window: int = parameter(
        256,
        "Tokens that are scored together; each window starts without context. Never more than the "
        "model's context holds.",
        unit="tokens",
        search="none",
        ge=2,
    )
    max_tokens: int = parameter(
        4096, "Tokens of the text that are used at most.", unit="tokens", search="none", ge=2
    )


class Perplexity(EvaluatorBase):
    """Exponential of the mean negative log-likelihood per token.

    Plain text is joined and cut into windows; the first token of each is context only. Of data
    with prompts, only the answers' tokens count, of conversations those of the assistant's turns;
    each example is a window.
    """

    name = "perplexity"
    version = 2
    needs = ("scores",)
    Params = PerplexityParams
    params: PerplexityParams
    rungs = (Rung.ROUGH, Rung.FULL)
    metrics = (MetricSpec("perplexity", "", "minimize", device=False),)

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Score every window; samples are the windows' mean negative log-likelihoods."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        dataset = context.data.load(self.params.data)
        windows = list(self.windows(session.tokenizer(), dataset, most_tokens(model)))
        # The first windows of a text are no sample of it: the rough look is at some at random.
        most = _ROUGH_WINDOWS if rung is Rung.ROUGH else None
        order = shuffled(len(windows), most, budget.examples)
        done = _known(context.previous.get("perplexity"))
        for n, index in enumerate(order):
            if index in done:
                continue
            context.progress(Progress(f"perplexity:{rung}", n, len(order)))
            ids, scored = windows[index]
            logs = log_softmax(session.sequence_logits(ids[:-1]))
            done[index] = -sum(float(logs[i - 1][ids[i]]) for i in scored)
        # In the order of the data, so that two models can be paired; what `_known` holds beyond
        # the look that is asked for is left out.
        seen = sorted(order)
        counts = [len(windows[index][1]) for index in seen]
        measured = _measurement([done[index] for index in seen], counts)
        return [
            measured.noting(
                windows_seen=tuple(seen), tokens_scored=tuple(counts), order=tuple(order)
            )
        ]

    def windows(
        self, tokenizer: Any, dataset: Any, most: int | None
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids of each window, and the places in it that are scored.

        Args:
            tokenizer: The model's.
            dataset: What is scored.
            most: Tokens that the model's context holds; None: unknown.

        Raises:
            DataError: An example does not fit, or the chat template refuses it.
        """
        left = self.params.max_tokens
        if any(example.prompt for example in dataset.examples):
            encoder = ExampleEncoder(tokenizer, dataset.chat, self.params.data)
            for example in dataset.examples:
                if left <= 0:
                    return
                found = encoder.tokens(example, most)
                scored = [i for begin, end in found.spans for i in range(max(1, begin), end)][:left]
                left -= len(scored)
                if scored:
                    yield list(found.ids[: scored[-1] + 1]), scored
            return
        text = "\n".join(example.answer for example in dataset.examples)
        ids = prompt_ids(tokenizer, text[: 40 * left], False)[:left]
        size = self.params.window if most is None else min(self.params.window, most)
        for start in range(0, len(ids), size):
            window = ids[start : start + size]
            if len(window) > 1:
                yield window, list(range(1, len(window)))


def _known(before: Measurement | None) -> dict[int, float]:
    """Return window to summed negative log-likelihood of the rung before."""
    if before is None or before.details.windows_seen is None:
        return {}
    seen, counts = before.details.windows_seen, before.details.tokens_scored or ()
    parts = zip(seen, before.samples, counts, strict=True)
    return {window: mean * count for window, mean, count in parts}


def _measurement(sums: Sequence[float], counts: Sequence[int]) -> Measurement:
    """Return the perplexity of windows, with Student's t interval over them.

    The mean per token is a ratio of two sums over windows; its variance is that of what each
    window has beyond the mean (Cochran, "Sampling Techniques", 6.4).
    """
    n, windows = sum(counts), len(sums)
    mean = sum(sums) / n if n else math.inf
    if not n or mean > math.log(1e300) or math.isnan(mean):
        return Measurement(
            "perplexity",
            None,
            "",
            n=n,
            protocol="windows-1",
            reason="the mean log-likelihood is not finite"
            if n
            else "no window of two tokens or more",
        )
    low = high = None
    if windows > 1:  # one window has no spread to tell an interval from
        beyond = sum((s - mean * c) ** 2 for s, c in zip(sums, counts, strict=True))
        half = student_t(windows - 1) * math.sqrt(windows / (windows - 1) * beyond) / n
        low, high = math.exp(max(0.0, mean - half)), _exp(mean + half)
        high = None if high is None else max(high, math.exp(mean))
        low = None if high is None else min(low, math.exp(mean))
    samples = tuple(s / c for s, c in zip(sums, counts, strict=True))
    reason = None if low is not None else "too few windows for an interval"
    return Measurement(
        "perplexity",
        math.exp(mean),
        "",
        low=low,
        high=high,
        n=n,
        protocol="windows-1",
        samples=samples,
        reason=reason,
        details=Details(extra={"windows": windows}),
    )


def _exp(mean: float) -> float | None:
    return math.exp(mean) if mean < math.log(1e300) else None
