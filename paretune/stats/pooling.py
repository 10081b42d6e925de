"""Measurements of one model in several processes, as one measurement.

Samples of one process share its memory layout and its moment, and say little about the next one's
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013). So the process is the unit:
the value is the median of the processes' values, and its interval Student's t on their logarithms,
which may draw on how much processes differ in a whole study (`paretune/stats/process_spread.py`). A
round of the finals that others disturbed counts neither here nor in what is said of limits.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.stats.process_spread import Spread, half_width, learnt
from paretune.stats.tails import Process, tail

PROTOCOL = "device-2"


DRIFT_LEVEL = 0.01


_OF_ONE = ("turns", "level", "interference")
"""Details that are one process's alone."""
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


def processes_of(measurement: Measurement) -> list[dict[str, Json]]:
    """Return ``{"n", "value", "round", ...}`` of each process behind a measurement.

    Some have more: ``turns``, the medians of its turns; ``level``, what its value is multiplied by
    to be compared with values of another hour; ``interference``, what others took meanwhile.
    """
    known = measurement.details.get("processes")
    if known is not None:
        return [dict(process) for process in known]
    if measurement.value is None:
        return []
    process = {"n": len(measurement.samples), "value": measurement.value, "round": None}
    own = {key: measurement.details[key] for key in _OF_ONE if key in measurement.details}
    return [{**process, **own}]


def disturbed(process: Mapping[str, Json]) -> bool:
    """Return whether others disturbed a round of the finals: it says nothing of a speed itself."""
    return process["round"] is not None and "interference" in process


def spreads_of(measured: Sequence[Mapping[str, Measurement]]) -> dict[str, Spread]:
    """Return what processes usually differ by in a study, by metric.

    Args:
        measured: Of each candidate that was measured to its end.
    """
    groups: dict[str, list[list[float]]] = {}
    for of_one in measured:
        for name, m in of_one.items():
            if "processes" in m.details:
                own = [p["value"] for p in processes_of(m) if p["round"] is None]
                groups.setdefault(name, []).append(own)
    found = {name: learnt(values) for name, values in groups.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


def last_round(measured: Mapping[str, Measurement]) -> int:
    """Return the number of the last round that a candidate was measured in; 0: none."""
    return max(
        (process["round"] or 0 for m in measured.values() for process in processes_of(m)),
        default=0,
    )


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
    processes: list[dict[str, Json]] = []
    samples: list[float] = []
    for measurement, round in parts:
        for process in processes_of(measurement):
            if process["round"] is None:
                process["round"] = round
            processes.append(process)
        samples += measurement.samples
    kept = {k: v for k, v in first.details.items() if k not in (*_OF_ONE, "spread")}
    details: dict[str, Any] = {**kept, "processes": processes}
    counted = [process for process in processes if not disturbed(process)] or processes
    values = [process["value"] * process.get("level", 1.0) for process in counted]
    if not values:
        return first
    if spread is not None:
        details["spread"] = {"from": spread.candidates}
    details |= _of_all([m.details for m, _ in parts if m.protocol == PROTOCOL])
    hit = [process["interference"] for process in processes if "interference" in process]
    if hit:
        details["interference"] = {
            "processes": len(hit),
            **{key: max(seen[key] for seen in hit) for key in ("others", "stolen")},
        }
    value = statistics.median(values)
    own = [process["value"] for process in counted if "level" not in process]
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
    if hit:
        most = max(seen["others"] + seen["stolen"] for seen in hit)
        reason = (
            f"{len(hit)} of {len(processes)} processes were measured while others used up to "
            f"{most:.0%} of the processor"
        )
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


def _of_all(details: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return what processes say together: their outliers added up, and the surest drift of all.

    Of many processes one drifts by chance: its `p` counts as often as there are processes (`of`).
    """
    found: dict[str, Json] = {}
    outliers = [one["outliers"] for one in details if "outliers" in one]
    if outliers:
        found["outliers"] = {kind: sum(one[kind] for one in outliers) for kind in outliers[0]}
    drifts = [one["drift"] for one in details if "drift" in one]
    if drifts:
        of, surest = sum(one.get("of", 1) for one in drifts), min(drifts, key=lambda one: one["p"])
        found["drift"] = {**surest, "of": of, "drifts": of * surest["p"] < DRIFT_LEVEL}
    return found


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
    if sum(process["n"] for process in processes) != len(of.samples):
        return measured  # of an earlier version: nobody knows which samples are whose
    parts = []
    counted = [process for process in processes if not disturbed(process)] or processes
    for process in processes:
        end = start + process["n"]
        told = {key: value for key, value in process.items() if key != "turns"}
        parts.append(Process(told, of.samples[start:end], process in counted))
        start = end
    found = tail(measured, parts, share, spread)
    if found.value is None or found.low is None or found.high is None or floor is None:
        return found
    low, high = _no_narrower(found.value, found.low, found.high, floor)
    return replace(found, low=low, high=high)
