"""Measurements of one model in several processes, as one measurement.

Samples of one process share its memory layout and its moment, and do not show the next process's
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013). So the process is the unit:
the value is the median of the processes' values, and its interval Student's t on their logarithms,
which may draw on how much processes differ in a whole study (`paretune/stats/process_spread.py`). A
round that other processes or throttling disturbed counts neither here nor where limits are checked.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace

from paretune.core.conditions import worst
from paretune.core.details import (
    OF_ONE_PROCESS,
    CpuTaken,
    Details,
    Drift,
    Outliers,
    ProcessValue,
    SpreadUsed,
)
from paretune.core.measurement import Measurement
from paretune.stats.process_spread import Spread, half_width, learnt
from paretune.stats.tails import Process, tail

PROTOCOL = "device-2"


DRIFT_LEVEL = 0.01
_PERCENTILE = re.compile(r"(?P<name>.+)_p(?P<share>9\d)(?P<suffix>(?:_context)?@.*)?")


def pool(
    blocks: Sequence[Mapping[str, Measurement]],
    floor: float | None = None,
    rounds: Sequence[int | None] | None = None,
    spreads: Mapping[str, Spread] | None = None,
) -> dict[str, Measurement]:
    """Return one measurement a metric of what several processes measured.

    Args:
        blocks: What each process measured, by metric; at least one. What was pooled before is
            taken apart again.
        floor: The device's noise floor, as a share: no interval is narrower than what one process
            says there by itself.
        rounds: The round of a comparison that each block was measured in; None: in none.
        spreads: What processes usually differ by in the study, by metric.
    """
    spreads = spreads or {}
    rounds = rounds if rounds is not None else [None] * len(blocks)
    names = dict.fromkeys(name for block in blocks for name in block)
    found = {
        name: _pooled(
            [(b[name], r) for b, r in zip(blocks, rounds, strict=True) if name in b],
            floor,
            spreads.get(name),
        )
        for name in names
    }
    for name, measurement in found.items():
        parts = _PERCENTILE.fullmatch(name)
        if parts is not None:
            of = found.get(f"{parts['name']}_p50{parts['suffix'] or ''}")
            if of is not None and of.samples:
                share = int(parts["share"]) / 100
                found[name] = _tail(measurement, of, share, floor, spreads.get(name))
    return found


def processes_of(measurement: Measurement) -> list[ProcessValue]:
    """Return what each process behind a measurement measured; the one that it is itself of."""
    details = measurement.details
    if details.processes is not None:
        return list(details.processes)
    if measurement.value is None:
        return []
    own = {name: getattr(details, name) for name in OF_ONE_PROCESS}
    return [ProcessValue(measurement.sample_count, measurement.value, None, **own)]


def spreads_of(measured: Sequence[Mapping[str, Measurement]]) -> dict[str, Spread]:
    """Return what processes usually differ by in a study, by metric.

    Args:
        measured: Of each candidate that was measured to its end.
    """
    groups: dict[str, list[list[float]]] = {}
    for of_one in measured:
        for name, m in of_one.items():
            if m.details.processes is not None:
                own = [p.value for p in m.details.processes if p.round is None]
                groups.setdefault(name, []).append(own)
    found = {name: learnt(values) for name, values in groups.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


def last_round(measured: Mapping[str, Measurement]) -> int:
    """Return the number of the last round that a candidate was measured in; 0: none."""
    return max(
        (process.round or 0 for m in measured.values() for process in processes_of(m)),
        default=0,
    )


def round_count(measured: Mapping[str, Measurement]) -> int:
    """Return in how many rounds a candidate was measured."""
    rounds = ({p.round for p in processes_of(m) if p.round is not None} for m in measured.values())
    return max(map(len, rounds), default=0)


def log_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the logarithm of what one process took of another's time, in the same round.

    Turn against turn where both took as many: what the machine did changes within seconds, and hits
    two turns that lie side by side alike.

    Args:
        a: The medians of one process's turns, in order; positive.
        b: The other's.
    """
    if len(a) == len(b):
        return statistics.median(math.log(x / y) for x, y in zip(a, b, strict=True))
    return math.log(statistics.median(a) / statistics.median(b))


def _pooled(
    parts: Sequence[tuple[Measurement, int | None]], floor: float | None, spread: Spread | None
) -> Measurement:
    first = next((m for m, _ in parts if m.value is not None), parts[0][0])
    processes: list[ProcessValue] = []
    samples: list[float] = []
    for measurement, round in parts:
        processes += [
            replace(p, round=round) if p.round is None else p for p in processes_of(measurement)
        ]
        samples += measurement.samples
    counted = [process for process in processes if not process.disturbed] or processes
    values = [process.rescaled for process in counted]
    if not values:
        return first
    hit = [process.interference for process in processes if process.interference is not None]
    others, stolen = ([getattr(h, name) for h in hit] for name in ("others", "stolen"))
    timed = [m.details for m, _ in parts if m.protocol == PROTOCOL]
    details = replace(
        first.details,
        turns=(),
        level=None,
        interference=CpuTaken(max(others), max(stolen), len(hit)) if hit else None,
        conditions=worst(p.conditions for p in processes if p.conditions is not None),
        processes=tuple(processes),
        spread=None if spread is None else SpreadUsed(spread.candidates),
        outliers=_outliers(timed) or first.details.outliers,
        drift=_drift(timed) or first.details.drift,
    )
    value = statistics.median(values)
    own = [process.value for process in counted if process.level is None]
    if 1 < len(own) < len(values):  # a level is no surer than the processes that it is taken from
        low, high = interval(own, floor, spread)
        if low is not None and high is not None:
            low, high = min(low, value), max(high, value)
    elif len(values) > 1:
        low, high = interval(values, floor, spread)
    else:  # one process: the interval of its samples
        low, high = first.low, first.high
        if floor is not None and low is not None and high is not None:
            low, high = _no_narrower(value, low, high, floor)
    reason = None if low is not None else first.reason or "one process tells no interval"
    if disturbances := _disturbances(processes):
        reason = "; ".join(disturbances)
    return replace(
        first,
        value=value,
        low=low,
        high=high,
        n=len(samples) or len(values),
        samples=tuple(samples),
        details=details,
        reason=reason,
    )


def _disturbances(processes: Sequence[ProcessValue]) -> list[str]:
    """Return sentences on processes that others disturbed, and that the device throttled."""
    of, found = len(processes), []
    hit = [process.interference for process in processes if process.interference is not None]
    if hit:
        most = max(seen.others + seen.stolen for seen in hit)
        found.append(
            f"{len(hit)} of {of} processes were measured while others used up to "
            f"{most:.0%} of the processor"
        )
    slow = [p.conditions for p in processes if p.conditions is not None and p.conditions.throttled]
    causes = worst(slow)
    if causes is not None:
        found.append(
            f"{len(slow)} of {of} processes were measured while the device was throttled "
            f"({', '.join(causes.throttled)})"
        )
    return found


def _outliers(details: Sequence[Details]) -> Outliers | None:
    """Return the outliers of all processes, added up."""
    counts = [astuple(one.outliers) for one in details if one.outliers is not None]
    return Outliers(*map(sum, zip(*counts, strict=True))) if counts else None


def _drift(details: Sequence[Details]) -> Drift | None:
    """Return the surest drift of all processes.

    Of many processes one drifts by chance: its `p` counts as often as there are processes (`of`).
    """
    drifts = [one.drift for one in details if one.drift is not None]
    if not drifts:
        return None
    of, surest = sum(one.of for one in drifts), min(drifts, key=lambda one: one.p)
    return replace(surest, of=of, drifts=of * surest.p < DRIFT_LEVEL)


def interval(
    values: Sequence[float], floor: float | None, spread: Spread | None = None
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of what processes centre on.

    Args:
        values: One a process; positive for an interval in logarithms, else in the values.
        floor: The device's noise floor, as a share.
        spread: What processes usually differ by in the study; None: these alone tell.
    """
    if len(values) < 2:
        return None, None
    positive = min(values) > 0
    numbers = [math.log(v) for v in values] if positive else list(values)
    half = half_width(numbers, spread if positive else None)
    middle = statistics.fmean(numbers)
    low, high = middle - half, middle + half
    if positive:
        low, high = math.exp(low), math.exp(high)
    value = statistics.median(values)
    low, high = min(low, value), max(high, value)
    return _no_narrower(value, low, high, floor) if floor is not None else (low, high)


def _no_narrower(value: float, low: float, high: float, floor: float) -> tuple[float, float]:
    # The floor is of the ratio of two processes; one of them alone is off by less.
    own = floor / math.sqrt(2) * abs(value)
    return min(low, value - own), max(high, value + own)


def _tail(
    measured: Measurement, of: Measurement, share: float, floor: float | None, spread: Spread | None
) -> Measurement:
    """Return a percentile of the processes whose samples the median `of` holds."""
    processes, start = processes_of(of), 0
    if sum(process.n for process in processes) != len(of.samples):
        return measured  # of an earlier version: nobody knows which samples are whose
    parts = []
    counted = [process for process in processes if not process.disturbed] or processes
    for process in processes:
        end = start + process.n
        parts.append(Process(process, of.samples[start:end], process in counted))
        start = end
    found = tail(measured, parts, share, spread)
    if found.value is None or found.low is None or found.high is None or floor is None:
        return found
    low, high = _no_narrower(found.value, found.low, found.high, floor)
    return replace(found, low=low, high=high)
