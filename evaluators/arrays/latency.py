"""The evaluator ``latency``: the time of one run of a network, by the protocol of `generation`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import model_validator

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.part import Part
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.evaluators.arrays.requests import Request, made_up, of_rows
from paretune.evaluators.base import Budget, EvaluatorBase
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
from paretune.runtimes.base import Runs
from paretune.runtimes.serving import load_session
from paretune.stats.intervals import bootstrap_mean
from paretune.stats.pooling import PROTOCOL


class LatencyParams(Params):
    """What the network is given."""

    data: str | None = parameter(
        None, "Data set of arrays, whose rows it is given; None: made-up arrays.", search="none"
    )
    shapes: dict[str, list[int]] = parameter(
        {},
        "Shape of each made-up input, by name; sizes that the network leaves open are 1 otherwise.",
        search="none",
    )
    seed: int = parameter(0, "Of the random numbers in made-up inputs.", search="none")
    batch_size: int | None = parameter(
        None, "Rows that it is given at once; the throughput is measured, too.", search="none", ge=1
    )
    concurrency: int | None = parameter(
        None,
        "Requests at the same time on one loaded network; the throughput is measured, too.",
        search="none",
        ge=1,
    )

    @model_validator(mode="after")
    def _one_source_of_inputs(self) -> LatencyParams:
        if self.data is not None and self.shapes:
            raise ValueError("give `data` or `shapes`: rows of a data set have their own shapes")
        for name, shape in self.shapes.items():
            if any(size < 1 for size in shape):
                raise ValueError(f"shapes: {name}: expected sizes of 1 and more, found {shape}")
        return self

    @property
    def rows(self) -> int:
        """How many rows a request has."""
        return self.batch_size or 1


@dataclass(frozen=True)
class Conditions(Part):
    """What was timed.

    Attributes:
        shapes: Of each input, by name; of rows of different shapes, those of the first request.
        threads: Of the runtime.
        protocol: How much was sampled.
        requests: How many different requests followed one another.
        concurrency: Requests at the same time.
    """

    shapes: Mapping[str, list[int]]
    threads: int
    protocol: Mapping[str, Json]
    requests: int = 1
    concurrency: int = 1


class Latency(EvaluatorBase):
    """Median and 95th percentile of the time of one run, in milliseconds; rows per second.

    Each of several requests at the same time is timed under the load of the others. The throughput
    is all rows over the time that their runs took, summed over what runs at the same time.
    """

    name = "latency"
    needs = ("runs",)
    Params = LatencyParams
    params: LatencyParams
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)
    rungs = (Rung.ROUGH, Rung.FULL)
    processes: ClassVar[int] = 3
    takes_turns: ClassVar[bool] = True
    protocol: ClassVar[str] = PROTOCOL

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Two percentiles, and the throughput where the parameters ask for it."""
        asked = self.params.batch_size is not None or self.params.concurrency is not None
        return (*_PERCENTILES, *([_THROUGHPUT] if asked else ()))

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Time runs on the same arrays; samples are kept.

        Raises:
            InvalidArtifactError: The network does not load, or does not run on these arrays.
            DataError: A row does not fit the network.
        """
        context.progress(Progress(f"{self.name}:{rung}", 0, 0))
        session: Runs = load_session(model, runtime, trust_remote_code=context.trust_remote_code)
        requests = self._requests(session, context)
        streams = self.params.concurrency or 1
        timed = [_timed(session.run, requests, start) for start in range(streams)]
        effort = effort_of(rung, budget.seconds)
        runs = _sampled(timed, effort, budget)
        seen = [value for run in runs for value in run.kept]
        shapes = {name: list(array.shape) for name, array in requests[0].items()}
        # One stream: what runs at the same time slows down together.
        details = Details(
            drift=drift(runs[0].kept), turns=turn_medians(runs[0].kept, runs[0].turns)
        )
        details = details.adding(
            Conditions(shapes, runtime.threads, effort.protocol, len(requests), streams)
        )
        found = [
            median_of("latency_ms_p50", seen, "ms", details),
            percentile_of("latency_ms_p95", seen, 0.95, "ms"),
        ]
        if _THROUGHPUT in self.metrics:
            found.append(_throughput([run.kept for run in runs], self.params.rows))
        return found

    def _requests(self, session: Runs, context: Context) -> list[Request]:
        params = self.params
        if params.data is None:
            count = params.rows if _THROUGHPUT in self.metrics else None
            return [made_up(session.inputs, params.shapes, params.seed, count)]
        rows = context.data.arrays(params.data).rows
        steps = getattr(session, "has_state", False)
        return of_rows(rows, session.inputs, params.data, params.rows, steps=steps)


_PERCENTILES = (
    MetricSpec("latency_ms_p50", "ms", "minimize", device=True),
    MetricSpec("latency_ms_p95", "ms", "minimize", device=True),
)
_THROUGHPUT = MetricSpec("throughput_per_s", "rows/s", "maximize", device=True)


def _timed(
    run: Callable[[Mapping[str, Any]], object], requests: Sequence[Request], start: int
) -> Callable[[], float]:
    """Return a function that runs the next request, and returns the milliseconds it took."""
    first = start % len(requests)
    following = itertools.cycle([*requests[first:], *requests[:first]])

    def once() -> float:
        request = next(following)
        begin = time.perf_counter_ns()
        run(request)
        return (time.perf_counter_ns() - begin) / 1e6

    return once


def _sampled(
    streams: Sequence[Callable[[], float]], effort: Effort, budget: Budget
) -> list[Run[float]]:
    """Sample; where others wait, one stream takes short turns, several take one long one."""
    turns = budget.turns
    if turns is None:
        return sample_together(streams, effort)
    if len(streams) == 1:
        return [sample_in_turns(streams[0], effort, turns)]
    with turns.turn():
        return sample_together(streams, effort)


def _throughput(streams: Sequence[Sequence[float]], rows: int) -> Measurement:
    """Return rows per second.

    Args:
        streams: The milliseconds of each run, of what ran at the same time.
        rows: Of a run.
    """
    rate = sum(1e3 * rows * len(kept) / sum(kept) for kept in streams)
    count = sum(map(len, streams))
    if len(streams) > 1:
        reason = "a sum over streams of one process tells no interval"
        return Measurement(
            "throughput_per_s", rate, "rows/s", n=count, protocol=PROTOCOL, reason=reason
        )
    quick, slow = bootstrap_mean(streams[0])
    low, high = min(1e3 * rows / slow, rate), max(1e3 * rows / quick, rate)
    return Measurement("throughput_per_s", rate, "rows/s", low, high, count, PROTOCOL)
