"""The evaluator ``generation``: time to the first token, and of each token after it.

Every candidate runs the same fixed token trace: the tokens that follow the prompt are given, not
sampled, so that no model gets off with fewer of them. Prefill and decode are timed apart. What use
is timed (lengths, streams, a filled context, minutes) is `paretune.evaluators.generation.workload`;
how, is `paretune.evaluators.generation.timing`.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.energy import EnergyMeter
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.generation.conditions import Conditions, Course, Sampled
from paretune.evaluators.generation.context_probe import peak_in_a_process
from paretune.evaluators.generation.energy import (
    EnergyPerToken,
    energy_name,
)
from paretune.evaluators.generation.requests import Request, Stream
from paretune.evaluators.generation.timing import (
    Effort,
    Run,
    drift,
    effort_of,
    median_of,
    percentile_of,
    sample_in_turns,
    sample_together,
    turn_medians,
)
from paretune.evaluators.generation.workload import (
    Case,
    GenerationParams,
    cases_of,
    does_not_fit,
    longest_context,
    trace,
)
from paretune.models.context_length import most_tokens
from paretune.models.handle import vocabulary_of
from paretune.runtimes.base import Session
from paretune.runtimes.serving import open_session
from paretune.stats.pooling import PROTOCOL

_OF_A_CASE = (
    ("ttft_ms_p50", "ms"),
    ("ttft_ms_p95", "ms"),
    ("decode_ms_p50", "ms"),
    ("decode_ms_p95", "ms"),
    ("decode_tokens_per_s", "tokens/s"),
)
_SUSTAINED = "decode_ms_p50_sustained"
_FIRST = "first_ttft_ms"
_PROBE_TOKENS = 4
_IN_A_BLOCK = "left out of the short rounds of a comparison"


class Generation(EvaluatorBase):
    """Time to first token, decode latency and tokens per second, under the use that is asked of."""

    name = "generation"
    version = 2
    needs = ("scores",)
    Params = GenerationParams
    params: GenerationParams
    rungs = (Rung.ROUGH, Rung.FULL)
    processes: ClassVar[int] = 3
    takes_turns: ClassVar[bool] = True
    protocol: ClassVar[str] = PROTOCOL

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Five metrics per case (see `cases_of`), and what else the parameters ask for."""
        named = [pair for case in cases_of(self.params) for pair in self._named(case)]
        named += self._extras()
        named += [(self._peak_name, "MB")] * bool(self._peak_name)
        return tuple(
            MetricSpec(name, unit, "maximize" if unit == "tokens/s" else "minimize", device=True)
            for name, unit in named
        )

    @property
    def energy_sources(self) -> str | None:
        """The counters of energy that it reads; empty: those that there are; None: none."""
        asked = self.params.energy
        return None if asked is False else "" if asked is True else asked

    @property
    def _peak_name(self) -> str:
        """The memory at the largest context; never `footprint`'s name, which is without any."""
        longest = longest_context(self.params)
        return f"peak_memory_mb_context@{longest}" if longest else ""

    @property
    def prompts_by_metric(self) -> dict[str, int]:
        """Tokens of the prompt of each metric that is a time to a first token; bounds it."""
        found = {
            f"{name}{case.suffix}": case.prompt
            for case in cases_of(self.params)
            for name, _ in _OF_A_CASE
            if name.startswith("ttft")
        }
        return {**found, **({_FIRST: found["ttft_ms_p50"]} if self.params.cold_start else {})}

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Time the trace; raw samples are kept."""
        session = open_session(model, runtime, trust_remote_code=context.trust_remote_code)
        whole = rung is Rung.FULL and not budget.block
        vocabulary, most = vocabulary_of(model), most_tokens(model)
        found: list[Measurement] = []
        for index, case in enumerate(cases_of(self.params)):
            context.progress(Progress(f"generation:{rung}", 0, 0, f"{case.before} tokens before"))
            why = does_not_fit(case, most)
            if why is not None:
                lost = self._named(case) + (self._extras() if index == 0 else [])
                found += [_valueless(name, unit, why) for name, unit in lost]
                continue
            streams = self._streams(session, case, trace(case.needed - 1, vocabulary))
            first = streams[0].request() if index == 0 and len(streams) > 1 else None
            effort = effort_of(rung, budget.seconds)
            if whole and self.params.requests > effort.samples:
                effort = replace(effort, samples=self.params.requests, at_most_s=math.inf)
            settings = self._settings(case, runtime)
            energy = self._energy(case, settings, budget)
            if energy is not None and budget.turns is None:
                effort = energy.lengthened(effort)
                if index == 0 and not budget.block:
                    energy.measure_idle()
            runs = self._sampled(streams, effort, budget, None if energy is None else energy.meter)
            found += _measurements(runs, case.suffix, settings.adding(_sampled(runs, effort)))
            found += [] if energy is None else [energy.measurement(sum(r.metered for r in runs))]
            if index > 0:
                continue
            if self.params.cold_start:
                found.append(_first(first or runs[0].warm_up[0], settings))
            if self.params.sustained_s and whole:
                context.progress(Progress(f"generation:{rung}", 0, 0, "sustained"))
                found.append(_sustained(streams, self.params.sustained_s, settings))
            elif self.params.sustained_s and rung is Rung.FULL:
                found.append(_valueless(_SUSTAINED, "ms", _IN_A_BLOCK))
        if self._peak_name and whole:
            found.append(self._peak(model, runtime, context, vocabulary, most))
        elif self._peak_name and rung is Rung.FULL:
            found.append(_valueless(self._peak_name, "MB", _IN_A_BLOCK))
        return found

    def _extras(self) -> list[tuple[str, str]]:
        """Return what else is measured of the first case."""
        named = [(_FIRST, self.params.cold_start), (_SUSTAINED, bool(self.params.sustained_s))]
        return [(name, "ms") for name, asked in named if asked]

    def _streams(self, session: Session, case: Case, tokens: Sequence[int]) -> list[Stream]:
        """Return the streams: one loaded model, and a state of its own for each."""
        more = (copy.copy(session) for _ in range(self.params.streams - 1))
        return [Stream(one, case, tokens) for one in (session, *more)]

    def _named(self, case: Case) -> list[tuple[str, str]]:
        """Return the metrics of a case with their units."""
        found = _named(case)
        return found if self.energy_sources is None else [*found, (energy_name(case), "J")]

    def _energy(self, case: Case, settings: Details, budget: Budget) -> EnergyPerToken | None:
        """Return what measures the energy of a case; None: it is not asked for."""
        if self.energy_sources is None:
            return None
        return EnergyPerToken(case, settings, self.energy_sources, budget)

    def _sampled(
        self,
        streams: Sequence[Stream],
        effort: Effort,
        budget: Budget,
        meter: EnergyMeter | None,
    ) -> list[Run[Request]]:
        """Sample; where others wait, one stream takes short turns, several take one long one."""
        turns, requests = budget.turns, [stream.request for stream in streams]
        if turns is None:
            return sample_together(requests, effort, meter)
        if len(requests) == 1:
            return [sample_in_turns(requests[0], effort, turns, meter)]
        with turns.turn():
            return sample_together(requests, effort, meter)

    def _peak(
        self,
        model: Model,
        runtime: RuntimeSettings,
        context: Context,
        vocabulary: int,
        most: int | None,
    ) -> Measurement:
        """Measure the memory of a process of its own that holds the largest context."""
        name, longest = self._peak_name, longest_context(self.params)
        case = replace(cases_of(self.params)[0], context=longest, new=_PROBE_TOKENS)
        why = does_not_fit(case, most)
        if why is not None:
            return _valueless(name, "MB", why)
        context.progress(Progress(f"generation:{Rung.FULL}", 0, 0, f"memory at {longest} tokens"))
        tokens = trace(case.needed - 1, vocabulary)
        payload = {
            "model": model.to_json(),
            "runtime": runtime.to_json(),
            "tokens": tokens[: case.before],
            "decode": tokens[case.before :],
            "streams": self.params.streams,
            "trust_remote_code": context.trust_remote_code,
        }
        peak = peak_in_a_process(payload)
        if isinstance(peak, str):
            return _valueless(name, "MB", peak)
        return _single(name, peak, "MB", self._settings(case, runtime))

    def _settings(self, case: Case, runtime: RuntimeSettings) -> Details:
        conditions = Conditions(case.context, self.params.streams, runtime.threads)
        return Details(prompt_tokens=case.prompt, new_tokens=case.new).adding(conditions)


def _named(case: Case) -> list[tuple[str, str]]:
    """Return the metrics of a case with their units."""
    return [(f"{name}{case.suffix}", unit) for name, unit in _OF_A_CASE]


def _sampled(runs: Sequence[Run[Request]], effort: Effort) -> Sampled:
    """Return how the runs went."""
    kept = tuple(len(run.kept) for run in runs)
    seconds = max(run.seconds for run in runs)
    warm_up = {
        "requests": sum(len(run.warm_up) for run in runs),
        "s": round(max(run.warm_up_s for run in runs), 6),
    }
    found = Sampled(effort.protocol, warm_up, sum(kept), round(seconds, 6))
    if len(runs) == 1:
        return found
    tokens = sum(len(request.decode) for run in runs for request in run.kept)
    cut_off = sum(run.cut_off for run in runs)
    return replace(
        found,
        requests_per_stream=kept,
        cut_off=cut_off,
        tokens_per_s_with_prompts=tokens / seconds,
    )


def _measurements(
    runs: Sequence[Run[Request]], suffix: str, details: Details
) -> Iterator[Measurement]:
    requests = [request for run in runs for request in run.kept]
    decode = _decode_times(requests, len(runs))
    times = {"ttft_ms": [request.ttft for request in requests], "decode_ms": decode}
    # One number per request, of one stream: the tokens of a request slow down together.
    by_request = {
        "ttft_ms": [request.ttft for request in runs[0].kept],
        "decode_ms": [_median_ms(request) for request in runs[0].kept],
    }
    turns = {name: turn_medians(values, runs[0].turns) for name, values in by_request.items()}
    for name, values in times.items():
        told = replace(details, drift=drift(by_request[name]), turns=turns[name])
        yield median_of(f"{name}_p50{suffix}", values, "ms", told)
        yield percentile_of(f"{name}_p95{suffix}", values, 0.95, "ms")
    rate = _rate(runs, decode, f"decode_tokens_per_s{suffix}")
    yield rate.noting(turns=tuple(1e3 / value for value in turns["decode_ms"]))


def _median_ms(request: Request) -> float:
    return statistics.median(request.decode)


def _decode_times(requests: Iterable[Request], streams: int) -> list[float]:
    """Return what counts as decode latency: each token's, or under load each request's mean token.

    Interleaved streams have many quick tokens and a few that wait long: the median token would
    hide the waiting.
    """
    if streams == 1:
        return [value for request in requests for value in request.decode]
    return [statistics.fmean(request.decode) for request in requests]


def _rate(runs: Sequence[Run[Request]], decode: Sequence[float], name: str) -> Measurement:
    """Return tokens per second: of one stream by its median token, of several as their sum.

    A stream among several counts by its tokens and all the time it decoded, waits included.
    """
    if len(runs) == 1:
        time_each = median_of(name, decode, "ms")
        assert time_each.value is not None
        low, high = (None if end is None else 1e3 / end for end in (time_each.high, time_each.low))
        return Measurement(
            name,
            1e3 / time_each.value,
            "tokens/s",
            low,
            high,
            len(decode),
            PROTOCOL,
            reason=time_each.reason,
        )
    rates = [
        1e3 * sum(len(r.decode) for r in run.kept) / sum(sum(r.decode) for r in run.kept)
        for run in runs
    ]
    return Measurement(
        name,
        sum(rates),
        "tokens/s",
        n=len(decode),
        protocol=PROTOCOL,
        reason="a sum over streams of one process tells no interval",
        details=Details(extra={"streams": rates}),
    )


def _first(request: Request, settings: Details) -> Measurement:
    """Return the time to first token of the first request that the loaded model ran.

    A cold model does not hold the context yet: filling it is part of that time.
    """
    return _single(_FIRST, request.filling + request.ttft, "ms", settings)


def _sustained(streams: Sequence[Stream], seconds: float, settings: Details) -> Measurement:
    """Go on without a break, and return the median token of the last tenth.

    The first tenth is in the details: what the two differ by is what the device lost as it grew
    warm, or as others came.
    """
    runs = sample_together([s.request for s in streams], Effort(0, 0.0, 10, seconds, 2 * seconds))
    by_tenth: list[list[float]] = [[] for _ in range(10)]
    for run in runs:
        took = [request.ttft + sum(request.decode) for request in run.kept]
        ends = list(accumulate(took))
        for request, ms, end in zip(run.kept, took, ends, strict=True):
            tenth = min(9, int(10 * (end - ms / 2) / ends[-1]))  # of the time, not of the requests
            by_tenth[tenth] += _decode_times([request], len(runs))
    tenths = [tenth for tenth in by_tenth if tenth]  # fewer if a request took more than a tenth
    medians = tuple(statistics.median(tenth) for tenth in tenths)
    course = Course(
        seconds=round(max(run.seconds for run in runs), 6),
        requests=sum(len(run.kept) for run in runs),
        tenths_ms=medians,
        first_tenth_ms=medians[0],
        relative=medians[-1] / medians[0] - 1,
    )
    drifted = replace(settings, drift=drift([_median_ms(r) for r in runs[0].kept]))
    return median_of(_SUSTAINED, tenths[-1], "ms", drifted.adding(course))


def _single(name: str, value: float, unit: str, settings: Details) -> Measurement:
    """Return the measurement of a single sample."""
    reason = "one process tells no interval"
    return Measurement(
        name, value, unit, None, None, 1, PROTOCOL, (value,), reason, details=settings
    )


def _valueless(name: str, unit: str, why: str) -> Measurement:
    return Measurement(name, None, unit, protocol=PROTOCOL, reason=why)
