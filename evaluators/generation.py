"""The evaluator ``generation``: time to the first token, and of each token after it.

Every candidate runs the same fixed token trace: the tokens that follow the prompt are given, not
sampled, so that no model gets off with fewer of them. Prefill and decode are timed apart.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from paretune.evaluators.base import Budget
from paretune.evaluators.serving import Session, open_session
from paretune.evaluators.statistics import bootstrap_median, percentile
from paretune.measurement import Measurement, MetricSpec, Rung
from paretune.models import Model, ModelKind
from paretune.passes.base import Context, Params, Progress, parameter
from paretune.search.candidate import RuntimeSettings
from paretune.targets.measuring import vocabulary_of

PROTOCOL = "decode-trace-1"
_FIRST_TOKEN = 100
"""Token ids below are often special ones; the trace leaves them out where it can."""


class GenerationParams(Params):
    """What is timed."""

    prompt_tokens: int | list[int] = parameter(
        64, "Length of the prompt; several are measured one by one.", unit="tokens", search="none"
    )
    new_tokens: int = parameter(
        32, "Tokens decoded after each prompt.", unit="tokens", search="none", ge=2
    )


@dataclass(frozen=True)
class _Effort:
    """How much is measured: floors on requests and on time, and an end."""

    requests: int
    seconds: float
    at_most: float


_EFFORT = {Rung.ROUGH: _Effort(2, 0.5, 2.0), Rung.FULL: _Effort(5, 3.0, 8.0)}


@dataclass
class _Trace:
    """Samples of one prompt length, in milliseconds."""

    ttft: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)


class Generation:
    """Time to first token, decode latency and tokens per second."""

    name: ClassVar[str] = "generation"
    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = GenerationParams
    accepts: ClassVar[frozenset[ModelKind]] = frozenset({ModelKind.GENAI, ModelKind.HF})
    rungs: ClassVar[tuple[Rung, ...]] = (Rung.ROUGH, Rung.FULL)
    fresh_process: ClassVar[bool] = False

    def __init__(self, params: GenerationParams) -> None:
        self.params = params

    @property
    def _lengths(self) -> list[int]:
        given = self.params.prompt_tokens
        return given if isinstance(given, list) else [given]

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Five metrics a prompt length; those of further lengths end in ``@LENGTH``."""
        return tuple(
            MetricSpec(f"{name}{suffix}", unit, "maximize" if unit == "tokens/s" else "minimize",
                       device=True)
            for suffix in self._suffixes
            for name, unit in (
                ("ttft_ms_p50", "ms"), ("ttft_ms_p95", "ms"), ("decode_ms_p50", "ms"),
                ("decode_ms_p95", "ms"), ("decode_tokens_per_s", "tokens/s"),
            )
        )  # fmt: skip

    @property
    def _suffixes(self) -> list[str]:
        return ["", *(f"@{length}" for length in self._lengths[1:])]

    @property
    def data(self) -> tuple[str, ...]:
        """None: the trace is made from numbers."""
        return ()

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Time the trace; raw samples are kept."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        vocabulary = vocabulary_of(model)
        found: list[Measurement] = []
        for length, suffix in zip(self._lengths, self._suffixes, strict=True):
            context.progress(Progress(f"generation:{rung}", 0, 0, f"{length} prompt tokens"))
            tokens = trace(length + self.params.new_tokens, vocabulary)
            samples = _sample(session, tokens, length, _EFFORT[rung], budget.seconds)
            details: dict[str, object] = {
                "prompt_tokens": length,
                "new_tokens": self.params.new_tokens,
                "requests": len(samples.ttft),
                "warm_up_requests": 1,
                "threads": runtime.threads,
            }
            found += _measurements(samples, suffix, details)
        return found


def trace(length: int, vocabulary: int) -> list[int]:
    """Return the fixed token ids that every candidate runs."""
    draw = random.Random(0)
    low = _FIRST_TOKEN if vocabulary > 2 * _FIRST_TOKEN else min(3, vocabulary - 1)
    return [draw.randrange(low, vocabulary) for _ in range(length)]


def _sample(
    session: Session, tokens: Sequence[int], length: int, effort: _Effort, most: float | None
) -> _Trace:
    samples = _Trace()
    end = effort.at_most if most is None else min(most, effort.at_most)
    with _quiet_collector():
        _request(session, tokens, length, _Trace())
        begin = time.perf_counter()
        while True:
            _request(session, tokens, length, samples)
            passed = time.perf_counter() - begin
            enough = len(samples.ttft) >= effort.requests and passed >= effort.seconds
            if enough or passed >= end:
                return samples


def _request(session: Session, tokens: Sequence[int], length: int, samples: _Trace) -> None:
    """Run one prompt and its tokens, timing each."""
    clock = time.perf_counter_ns
    start = clock()
    session.begin(tokens[:length], len(tokens) - length + 1)
    end = clock()
    samples.ttft.append((end - start) / 1e6)
    for token in tokens[length:]:
        start = end
        session.extend((token,))
        end = clock()
        samples.decode.append((end - start) / 1e6)


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Keep Python's garbage collector from running while something is timed."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _measurements(
    samples: _Trace, suffix: str, details: dict[str, object]
) -> Iterator[Measurement]:
    for name, values in (("ttft_ms", samples.ttft), ("decode_ms", samples.decode)):
        low, high = bootstrap_median(values)
        middle = statistics.median(values)
        yield Measurement(
            f"{name}_p50{suffix}", middle, "ms", min(low, middle), max(high, middle), len(values),
            PROTOCOL, tuple(values), details=details,
        )  # fmt: skip
        tail = percentile(values, 0.95)
        if tail is None:
            yield Measurement(
                f"{name}_p95{suffix}", None, "ms", n=len(values), protocol=PROTOCOL,
                reason=f"95 % needs 59 samples, there are {len(values)}",
            )  # fmt: skip
        else:
            value, low, high = tail
            yield Measurement(f"{name}_p95{suffix}", value, "ms", low, high, len(values), PROTOCOL)
    low, high = bootstrap_median(samples.decode)
    middle = statistics.median(samples.decode)
    yield Measurement(
        f"decode_tokens_per_s{suffix}", 1e3 / middle, "tokens/s", 1e3 / max(high, middle),
        1e3 / min(low, middle), len(samples.decode), PROTOCOL,
    )  # fmt: skip
