"""What an early decision may rely on: bounds of a metric's last value, after a cheap measurement.

Three kinds of evidence count, and nothing else does (before a build, what it is built from is a
fourth: `search/parent_stops.py`). Bounds of what all examples will give, from some of them in a
random order, paired with the baseline's (`paretune/stats/finite_population.py`,
`paretune/stats/window_bounds.py`), or declared by the evaluator itself (``details.final``). Clocks,
if several processes agree, each of them further from the limit than one process may be off. What is
exact. An interval that a few windows or a few resampled examples give is none of these, and neither
is a speed that was taken over from another candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.stats.finite_population import final_bounds
from paretune.stats.pooling import processes_of
from paretune.stats.window_bounds import perplexity_bounds

ROUGH_SLACK = 0.15
"""Share by which one process's speed may be off, where the device was not measured."""
_MIN_SLACK = 0.05
"""The noise floor of a quiet minute does not bound that of the next hour."""
ENOUGH_PROCESSES = 3
"""A slow spell that hits one process in seven hits three of them once in three hundred times."""


def rough_slack(noise_floor: float | None) -> float:
    """Return the share by which one process's speed may be off on a device.

    Args:
        noise_floor: What two processes' medians of the same work differ by; None: not known.
    """
    return ROUGH_SLACK if noise_floor is None else max(_MIN_SLACK, noise_floor)


def relied_on(
    measured: Measurement,
    spec: MetricSpec | None,
    slack: float = ROUGH_SLACK,
    reference: Measurement | None = None,
    enough: int = ENOUGH_PROCESSES,
) -> Measurement:
    """Return a measurement with the bounds of its last value as its interval.

    Args:
        measured: What was measured; ``details.early`` if more of it is to come.
        spec: What the metric is; None if unknown.
        slack: Share by which one process's speed may be off.
        reference: The baseline's, on everything; None: there is none.
        enough: Processes that a speed needs. With 1 the result is only a suspicion.

    Returns:
        The same without an interval where nothing is sure.
    """
    if measured.value is None or measured.protocol.startswith("exact"):
        return measured
    if spec is not None and spec.device:
        return _of_processes(measured, slack, enough)
    bounds = _bounds(measured, reference)
    if bounds is not None:
        return replace(measured, low=bounds[0], high=bounds[1])
    return replace(measured, low=None, high=None) if measured.details.early else measured


def processes_behind(measured: Measurement) -> list[float]:
    """Return what each of its processes measured; one value if nothing is known of them."""
    if measured.taken_over:
        return []
    if measured.protocol.startswith("fresh-process-"):
        return list(measured.samples)
    return [process.value for process in processes_of(measured)]


def _of_processes(measured: Measurement, slack: float, enough: int) -> Measurement:
    values = processes_behind(measured)
    if measured.taken_over:  # a reason to measure, and to stop never
        values = [] if measured.value is None or enough > 1 else [measured.value]
    elif not measured.details.early:  # the last word, but no process may speak against it
        if measured.low is None or measured.high is None or len(values) < 2:
            return measured
        return replace(measured, low=min(measured.low, *values), high=max(measured.high, *values))
    if len(values) < enough or not values:
        return replace(measured, low=None, high=None)
    ends = list(chain.from_iterable((v - slack * abs(v), v + slack * abs(v)) for v in values))
    return replace(measured, low=min(ends), high=max(ends))


def _bounds(measured: Measurement, reference: Measurement | None) -> tuple[float, float] | None:
    declared = measured.details.final
    if declared is not None or reference is None:
        return declared
    return final_bounds(measured, reference) or perplexity_bounds(measured, reference)


def as_recorded(
    measured: Mapping[str, Measurement], stopped_at: Rung, last: Mapping[str, Rung]
) -> dict[str, Measurement]:
    """Return an outcome's measurements, those marked that were not their evaluator's last word.

    Outcomes of earlier versions do not say so themselves.

    Args:
        measured: By metric.
        stopped_at: The rung that the candidate came to.
        last: The last rung of each metric's evaluator.
    """
    order = list(Rung)
    return {
        name: m.noting(early=True)
        if order.index(stopped_at) < order.index(last.get(name, Rung.FULL))
        else m
        for name, m in measured.items()
    }
