"""Measures the energy of this device: a meter over what counts it.

A counter is read when a meter starts and stops, and every 20 s between, so that it cannot overflow
twice. A power sensor is sampled ten times per second by a thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.core.energy import NoEnergyCounterError
from paretune.targets.worker.energy_sources import (
    HWMON,
    NVIDIA,
    RAPL,
    PowerSensor,
    SensorError,
    Source,
    choose,
)
from paretune.targets.worker.sysfs import sysfs_root

_MOVES_WITHIN_S = 1.0
_POLL_S = 0.01


class Meter:
    """Counts the energy of some sources between `start` and `stop`, of several such times the sum.

    Args:
        sources: What is added up; at least one.

    Attributes:
        source: The sources, as text.
        least_s: A shorter time cannot be measured, in seconds.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.source = " + ".join(source.about for source in sources)
        self.least_s = max(source.least_s for source in sources)
        self._sources = sources
        self._every_s = min(source.every_s for source in sources)
        self._joules = [0.0 for _ in sources]
        self._seconds = 0.0
        self._reason: str | None = None
        self._begun = 0.0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def joules(self) -> float | None:
        """What was counted; None: `reason` says why not."""
        return None if self.reason else sum(self._joules)

    @property
    def seconds(self) -> float:
        """How long it was counted."""
        return self._seconds

    @property
    def reason(self) -> str | None:
        """Why there is no value; None: there is one."""
        if self._reason is not None:
            return self._reason
        if not self._seconds:
            return "no energy was counted"
        for source, joules in zip(self._sources, self._joules, strict=True):
            if joules <= 0:
                return f"{source.about} did not move in {self._seconds:.3g} s"
        return None

    def start(self) -> None:
        """Begin to count; never raises."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        for source in self._sources:
            source.begin()
        self._begun = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Count no more; without `start` before, nothing is done."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        self._advance()
        passed = time.monotonic() - self._begun
        self._seconds += passed
        if passed < self.least_s:
            self._fail(f"{passed:.2g} s are too short: {self.source} needs {self.least_s:g} s")

    def _sample(self) -> None:
        while not self._ended.wait(self._every_s):
            self._advance()

    def _advance(self) -> None:
        for place, source in enumerate(self._sources):
            try:
                self._joules[place] += source.advance()
            except SensorError as error:
                self._fail(str(error))

    def _fail(self, reason: str) -> None:
        """Keep the first reason why there is no value."""
        self._reason = self._reason or reason


def open_meter(names: str = "", root: Path | None = None) -> Meter:
    """Return a meter.

    Args:
        names: See `paretune.targets.worker.energy_sources.choose`.
        root: Where ``/sys`` is mounted; None: `sysfs_root`.

    Raises:
        NoEnergyCounterError: There is no counter, or one of them cannot be read.
    """
    return Meter(list(choose(names, sysfs_root() if root is None else root).values()))


def problem(names: str, providers: Sequence[str]) -> list[str]:
    """Return why this device cannot measure the energy of some providers, and what to do.

    Args:
        names: See `open_meter`.
        providers: Those of the candidates.

    Returns:
        A message and a hint, which may be empty; nothing: it can.
    """
    try:
        found = choose(names, sysfs_root())
        for provider in providers:
            _check_provider(provider, found)
        for source in found.values():
            _check_moves(source)
    except NoEnergyCounterError as error:
        return [error.message, error.hint or ""]
    return []


def _check_provider(provider: str, found: Mapping[str, Source]) -> None:
    """Refuse sources that do not count what a provider computes with."""
    whole = any(name.startswith(HWMON) for name in found)
    counted = {"cpu": RAPL in found or whole, "cuda": NVIDIA in found or whole}
    if not counted.get(provider, whole):
        there = " and ".join(source.about for source in found.values())
        raise NoEnergyCounterError(
            f"nothing counts the energy of the provider {provider!r} here: there is {there} only",
            hint="The provider cpu needs RAPL or a power sensor of the board; cuda needs NVIDIA's "
            "counter (the package nvidia-ml-py) or a power sensor of the board.",
        )


def _check_moves(source: Source) -> None:
    """Refuse a counter that stands still, as that of a virtual machine may."""
    if isinstance(source, PowerSensor):
        return
    source.begin()
    end = time.monotonic() + _MOVES_WITHIN_S
    try:
        while not source.advance():
            if time.monotonic() > end:
                raise NoEnergyCounterError(
                    f"{source.about} does not count: it did not move in {_MOVES_WITHIN_S:g} s",
                    hint="A virtual machine may show a counter that its host does not fill.",
                )
            time.sleep(_POLL_S)
    except SensorError as error:
        raise NoEnergyCounterError(str(error)) from error
