"""The evaluator ``latency``: the time of one run of a network, by the protocol of `generation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paretune.core.candidate import RuntimeSettings
from paretune.core.details import Details
from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.model import Model
from paretune.core.params import Params, parameter
from paretune.core.part import Part
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.evaluators.base import Budget, EvaluatorBase
from paretune.evaluators.generation.timing import (
    drift,
    effort_of,
    median_of,
    percentile_of,
    sample,
    sample_in_turns,
    turn_medians,
)
from paretune.runtimes.base import Runs
from paretune.runtimes.serving import load_session
from paretune.stats.pooling import PROTOCOL


class LatencyParams(Params):
    """What the network is given."""

    shapes: dict[str, list[int]] = parameter(
        {},
        "Shape of each input, by name; sizes that the network leaves open are 1 otherwise.",
        search="none",
    )
    seed: int = parameter(0, "Of the random numbers in float inputs.", search="none")


@dataclass(frozen=True)
class Conditions(Part):
    """What was timed.

    Attributes:
        shapes: Of each input, by name.
        threads: Of the runtime.
        protocol: How much was sampled.
    """

    shapes: Mapping[str, list[int]]
    threads: int
    protocol: Mapping[str, Json]


class Latency(EvaluatorBase):
    """Median and 95th percentile of the time of one run, in milliseconds."""

    name = "latency"
    needs = ("runs",)
    Params = LatencyParams
    params: LatencyParams
    rungs = (Rung.ROUGH, Rung.FULL)
    processes: ClassVar[int] = 3
    takes_turns: ClassVar[bool] = True
    protocol: ClassVar[str] = PROTOCOL
    metrics = (
        MetricSpec("latency_ms_p50", "ms", "minimize", device=True),
        MetricSpec("latency_ms_p95", "ms", "minimize", device=True),
    )

    def measure(
        self, model: Model, runtime: RuntimeSettings, rung: Rung, budget: Budget, context: Context
    ) -> list[Measurement]:
        """Time runs on the same arrays; samples are kept.

        Raises:
            InvalidArtifactError: The network does not load, or does not run on these arrays.
        """
        context.progress(Progress(f"{self.name}:{rung}", 0, 0))
        session: Runs = load_session(model, runtime, trust_remote_code=context.trust_remote_code)
        arrays = _arrays(session.inputs, self.params)
        once = _timed(session.run, arrays)
        effort, turns = effort_of(rung, budget.seconds), budget.turns
        seen = sample(once, effort) if turns is None else sample_in_turns(once, effort, turns)
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        details = Details(drift=drift(seen.kept), turns=turn_medians(seen.kept, seen.turns))
        details = details.adding(Conditions(shapes, runtime.threads, effort.protocol))
        return [
            median_of("latency_ms_p50", seen.kept, "ms", details),
            percentile_of("latency_ms_p95", seen.kept, 0.95, "ms"),
        ]


def _timed(
    run: Callable[[Mapping[str, Any]], object], arrays: Mapping[str, Any]
) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter_ns()
        run(arrays)
        return (time.perf_counter_ns() - start) / 1e6

    return once


def _arrays(
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]], params: LatencyParams
) -> dict[str, Any]:
    """Return what the network is given: random floats, and ones of every other type."""
    import numpy as np

    unknown = sorted(set(params.shapes) - set(inputs))
    if unknown:
        raise InvalidArtifactError(
            f"latency: shapes: the network has no input {unknown[0]!r}",
            hint=f"Its inputs are {', '.join(inputs)}.",
        )
    draw, found = np.random.default_rng(params.seed), {}
    for name, (kind, known) in inputs.items():
        if "(" in kind:
            raise InvalidArtifactError(
                f"latency: the input {name!r} is not an array of numbers: {kind}"
            )
        shape = params.shapes.get(name, [1 if size is None else size for size in known])
        floats = kind.startswith("float")
        array = draw.normal(size=shape) if floats else np.ones(shape)
        found[name] = array.astype(kind)
    return found
