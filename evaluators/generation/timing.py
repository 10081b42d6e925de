"""How anything is timed inside one process: the protocol ``device-2``.

Warm-up by count *and* time; then samples until floors on their count *and* on the duration are
met, or the time is up. Every sample is kept: outliers are counted, drift over the run is reported,
nothing is dropped. One process cannot know how much another would differ; the parent finds that out
by running several.
"""

from __future__ import annotations

import gc
import math
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Generic, TypeVar

from paretune.core.details import Details, Drift, Outliers
from paretune.core.energy import EnergyMeter
from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement, Rung
from paretune.evaluators.base import TurnClient
from paretune.stats.intervals import CONFIDENCE, percentile, too_few
from paretune.stats.pooling import DRIFT_LEVEL, PROTOCOL
from paretune.stats.rank_test import mann_whitney

T = TypeVar("T")
TURNS = 4
"""Turns of a process in a round of a comparison."""
_SWITCH_S = 1e-4
"""How long a stream may keep the interpreter while another waits; Python's 5 ms are many tokens."""


@dataclass(frozen=True)
class Effort:
    """How much is sampled.

    Attributes:
        warm_up_count: Calls before the first one that counts, at least ...
        warm_up_s: ... and for so long.
        samples: Calls that count, at least ...
        seconds: ... and for so long.
        at_most_s: Warm-up and sampling each end after so long, whatever the floors say.
    """

    warm_up_count: int
    warm_up_s: float
    samples: int
    seconds: float
    at_most_s: float

    @property
    def protocol(self) -> dict[str, Json]:
        """What a measurement's details hold of it."""
        return {"name": PROTOCOL, "samples": self.samples, "seconds": self.seconds}


_EFFORTS = {
    Rung.SMOKE: Effort(1, 0.0, 1, 0.0, 1.0),
    Rung.ROUGH: Effort(1, 0.1, 2, 0.7, 2.0),
    Rung.FULL: Effort(1, 0.5, 6, 3.0, 8.0),
}


def effort_of(rung: Rung, seconds: float | None) -> Effort:
    """Return how much to sample.

    Args:
        rung: How much the measurement is worth.
        seconds: If given, one short block of about so long, of two samples at least, whatever the
            rung: many blocks of fresh processes make one comparison.
    """
    if seconds is None:
        return _EFFORTS[rung]
    return Effort(1, min(0.1, seconds / 10), 2, seconds, math.inf)


@dataclass(frozen=True)
class Run(Generic[T]):
    """What a sampling loop saw.

    Attributes:
        warm_up: What the calls before the first one that counts returned.
        warm_up_s: How long they took.
        kept: What the calls that count returned, in order.
        seconds: How long they took together.
        cut_off: Calls that ended after another stream had stopped, and so are not among `kept`.
        turns: How many of `kept` each turn had; empty if it ran at one go.
        metered: Calls between the start and the stop of a meter, those that do not count included.
    """

    warm_up: tuple[T, ...]
    warm_up_s: float
    kept: tuple[T, ...]
    seconds: float
    cut_off: int = 0
    turns: tuple[int, ...] = ()
    metered: int = 0


def sample(once: Callable[[], T], effort: Effort, meter: EnergyMeter | None = None) -> Run[T]:
    """Call `once` again and again; it times itself, and returns what it saw.

    Args:
        once: One sample: a request, a call.
        effort: How often and how long.
        meter: Counts the energy of the calls after the warm-up.
    """
    with quiet_collector(), _stopping(meter):
        return _loop(once, effort, _Floors(1, meter))


def sample_in_turns(
    once: Callable[[], T], effort: Effort, turns: TurnClient, meter: EnergyMeter | None = None
) -> Run[T]:
    """Call `once` in several short turns, between which others run.

    Where a turn has several calls, its first one is not counted: it finds the caches as another
    process left them.

    Args:
        once: One sample: a request, a call.
        effort: How often and how long, all turns together.
        turns: Whom to ask.
        meter: Counts the energy of all calls of the turns.
    """
    clock = time.perf_counter
    kept: list[T] = []
    sizes: list[int] = []
    spent, metered = 0.0, 0
    with quiet_collector():
        warm_up, warm_up_s = _warm_up(once, effort)
        for _ in range(TURNS):
            with turns.turn(), _stopping(meter):
                if meter is not None:
                    meter.start()
                begin, passed = clock(), 0.0
                seen: list[T] = []
                while not seen or passed < effort.seconds / TURNS:
                    seen.append(once())
                    passed = clock() - begin
            metered += len(seen)
            counted = seen[1:] or seen
            kept += counted
            sizes.append(len(counted))
            spent += passed
    return Run(tuple(warm_up), warm_up_s, tuple(kept), spent, turns=tuple(sizes), metered=metered)


def sample_together(
    streams: Sequence[Callable[[], T]], effort: Effort, meter: EnergyMeter | None = None
) -> list[Run[T]]:
    """Sample several streams at once, each in a thread of its own.

    They begin to count together, after all have warmed up, and go on until the floors are met by
    every one of them, so that each is under the load of all others the whole time.

    Args:
        streams: One function a stream.
        effort: Of each stream.
        meter: Counts the energy of all of them, from when they count until the last has ended.
    """
    if len(streams) == 1:
        return [sample(streams[0], effort, meter)]
    floors = _Floors(len(streams), meter)
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_S))
    try:
        with (
            quiet_collector(),
            _stopping(meter),
            ThreadPoolExecutor(len(streams)) as pool,
        ):
            running = [pool.submit(_loop, once, effort, floors) for once in streams]
            # An error breaks the barrier that the others wait at: the error is what is told.
            errors = [error for error in (one.exception() for one in running) if error is not None]
            for error in errors:
                if not isinstance(error, threading.BrokenBarrierError):
                    raise error
            return [one.result() for one in running]
    finally:
        sys.setswitchinterval(before)


@dataclass
class _Floors:
    """What the streams of one run share: when to begin, and whether all have enough."""

    streams: int
    meter: EnergyMeter | None = None
    start: threading.Barrier = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)
    met: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        begin = None if self.meter is None else self.meter.start
        self.start = threading.Barrier(self.streams, begin)

    def one_more(self) -> None:
        """A stream has met its floors."""
        with self.lock:
            self.met += 1
            if self.met == self.streams:
                self.stop.set()


def _warm_up(once: Callable[[], T], effort: Effort) -> tuple[list[T], float]:
    seen: list[T] = []
    begin = time.perf_counter()
    passed = 0.0
    while len(seen) < effort.warm_up_count or passed < effort.warm_up_s:
        seen.append(once())
        passed = time.perf_counter() - begin
        if passed >= effort.at_most_s:
            break
    return seen, passed


def _loop(once: Callable[[], T], effort: Effort, floors: _Floors) -> Run[T]:
    clock = time.perf_counter
    kept: list[T] = []
    counted = False
    try:
        warm_up, warm_up_s = _warm_up(once, effort)
        floors.start.wait()
        begin, passed = clock(), 0.0
        while not floors.stop.is_set():
            seen = once()
            if floors.stop.is_set():  # the others have ended: this one was not under their load
                metered = len(kept) + 1
                return Run(tuple(warm_up), warm_up_s, tuple(kept), passed, 1, metered=metered)
            kept.append(seen)
            passed = clock() - begin
            enough = len(kept) >= effort.samples and passed >= effort.seconds
            if (enough or passed >= effort.at_most_s) and not counted:
                counted = True
                floors.one_more()
        return Run(tuple(warm_up), warm_up_s, tuple(kept), passed, metered=len(kept))
    except BaseException:
        floors.start.abort()
        floors.stop.set()
        raise


@contextmanager
def _stopping(meter: EnergyMeter | None) -> Iterator[None]:
    """Stop a meter at the end of the block, if it was started in it."""
    try:
        yield
    finally:
        if meter is not None:
            meter.stop()


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep Python's garbage collector from running while something is timed."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def classify(samples: Sequence[float]) -> Outliers:
    """Count outliers by Tukey's fences; none is dropped.

    A sample is a mild one beyond 1.5 times the interquartile range from the quartiles, a severe one
    beyond 3 times ("Exploratory Data Analysis", 1977). High ones tell of disturbances, low ones of
    a clock or a cache that was in a better state than usual. No sample is counted twice.
    """
    counts = {"severe_low": 0, "mild_low": 0, "mild_high": 0, "severe_high": 0}
    if len(samples) < 4:
        return Outliers(**counts)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    width = high - low
    for value in samples:
        beyond, side = max((low - value, "low"), (value - high, "high"))
        if beyond > 1.5 * width:
            counts[f"{'severe' if beyond > 3 * width else 'mild'}_{side}"] += 1
    return Outliers(**counts)


def drift(samples: Sequence[float]) -> Drift:
    """Compare the second half of a run with its first (Mann and Whitney's test, two-sided).

    Args:
        samples: In order of measurement, and such that each could have come at any other's place:
            one number per request, not one per token.

    Returns:
        It drifts if chance alone makes such a difference in less than 1 % of runs.
    """
    half = len(samples) // 2
    first, second = samples[:half], samples[half:]
    before = statistics.median(first) if first else 0.0
    if not before:
        return Drift(None, 1.0, drifts=False)
    p = mann_whitney(first, second)
    change = statistics.median(second) / before - 1
    return Drift(round(change, 6), float(f"{p:.3g}"), p < DRIFT_LEVEL)


def median_of(
    metric: str, samples: Sequence[float], unit: str, details: Details | None = None
) -> Measurement:
    """Return a median with its interval by order statistics, which no less than six samples have.

    Args:
        metric: Its name.
        samples: At least one; kept as they are.
        unit: Of the samples.
        details: What else to keep; the count of outliers is added.
    """
    middle = statistics.median(samples)
    found = percentile(samples, 0.5)
    low = high = None
    reason = "fewer than 6 samples have no 95 % interval of their median"
    if found is not None and 0.5 ** len(samples) <= (1 - CONFIDENCE) / 2:
        low, high, reason = min(found[1], middle), max(found[2], middle), ""
    return Measurement(
        metric,
        middle,
        unit,
        low,
        high,
        len(samples),
        PROTOCOL,
        tuple(samples),
        reason or None,
        replace(details or Details(), outliers=classify(samples)),
    )


def percentile_of(metric: str, samples: Sequence[float], share: float, unit: str) -> Measurement:
    """Return a percentile, or what it lacks."""
    found = percentile(samples, share)
    n = len(samples)
    if found is None:
        return Measurement(metric, None, unit, n=n, protocol=PROTOCOL, reason=too_few(share, n))
    value, low, high = found
    return Measurement(metric, value, unit, low, high, n, PROTOCOL)


def turn_medians(values: Sequence[float], sizes: Sequence[int]) -> tuple[float, ...]:
    """Return the median of each turn; empty if the run had none.

    Args:
        values: One number per sample, in order.
        sizes: Samples of each turn.
    """
    ends = accumulate(sizes)
    return tuple(
        statistics.median(values[end - size : end]) for end, size in zip(ends, sizes, strict=True)
    )
