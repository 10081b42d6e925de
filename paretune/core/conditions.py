"""What a device's sensors reported of the time in which something was measured.

What the device does not report is None, and nothing is derived from it. The sensors are read in the
worker (`paretune.targets.worker.sensors`), so the conditions come with the measurement's details
from wherever it was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from paretune.core.errors import without_controls
from paretune.core.part import Part

FREQUENCY, TEMPERATURE, THROTTLING, GPU = "frequency", "temperature", "throttling", "gpu"
"""What a device may report."""


@dataclass(frozen=True)
class Conditions(Part):
    """The state of the device during a measurement.

    Attributes:
        frequency_mhz: Of the processor's fastest core, the mean where the system counts it, else
            as the measurement ended.
        most_mhz: The highest frequency that this core can have.
        temperature_c: The processor's highest reading, in degrees Celsius.
        gpu_mhz: Of the GPU, as the measurement ended.
        gpu_temperature_c: Of the GPU, the highest reading.
        throttled: Why the device was slower than it can be, one text per cause; empty: it was not,
            or does not report it.
        reports_throttling: Whether the device would report it.
        clock_jump_s: By how much the wall clock was set meanwhile; None: not at all.
        repeated: Whether a first measurement was thrown away because the device was throttled.
    """

    frequency_mhz: float | None = None
    most_mhz: float | None = None
    temperature_c: float | None = None
    gpu_mhz: float | None = None
    gpu_temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    reports_throttling: bool = False
    clock_jump_s: float | None = None
    repeated: bool = False

    @property
    def reported(self) -> tuple[str, ...]:
        """What the device reports: of `FREQUENCY`, `TEMPERATURE`, `THROTTLING`, `GPU`."""
        there = {
            FREQUENCY: self.frequency_mhz is not None,
            TEMPERATURE: self.temperature_c is not None,
            THROTTLING: self.reports_throttling,
            GPU: self.gpu_mhz is not None or self.gpu_temperature_c is not None,
        }
        return tuple(name for name, is_there in there.items() if is_there)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            TypeError: A field has a value that it cannot have.
        """
        given = dict(value)
        for name in _NUMBERS & given.keys():
            number = given[name]
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise TypeError(f"{name}: expected a number, found {number!r:.60}")
            if not math.isfinite(number):
                raise TypeError(f"{name}: the number {number} is not finite")
        for name in _YES_OR_NO & given.keys():
            if not isinstance(given[name], bool):
                raise TypeError(f"{name}: expected true or false, found {given[name]!r:.60}")
        causes = given.get("throttled", [])
        if not isinstance(causes, (list, tuple)) or not all(isinstance(c, str) for c in causes):
            raise TypeError(f"throttled: expected texts, found {causes!r:.60}")
        return cls(**{**given, "throttled": tuple(map(without_controls, causes))})


_NUMBERS = {
    "frequency_mhz",
    "most_mhz",
    "temperature_c",
    "gpu_mhz",
    "gpu_temperature_c",
    "clock_jump_s",
}
_YES_OR_NO = {"reports_throttling", "repeated"}


def worst(several: Iterable[Conditions]) -> Conditions | None:
    """Return the worst of several measurements' conditions; None: of none of them they are known.

    It has the lowest frequency, the highest temperature and all causes of throttling.
    """
    found: Conditions | None = None
    for one in several:
        found = one if found is None else _worse(found, one)
    return found


def _worse(a: Conditions, b: Conditions) -> Conditions:
    slower = min((a, b), key=lambda c: math.inf if c.frequency_mhz is None else c.frequency_mhz)
    jumps = [c.clock_jump_s for c in (a, b) if c.clock_jump_s is not None]
    return replace(
        a,
        frequency_mhz=slower.frequency_mhz,
        most_mhz=slower.most_mhz,
        temperature_c=_largest(a.temperature_c, b.temperature_c),
        gpu_mhz=min((mhz for mhz in (a.gpu_mhz, b.gpu_mhz) if mhz is not None), default=None),
        gpu_temperature_c=_largest(a.gpu_temperature_c, b.gpu_temperature_c),
        throttled=tuple(dict.fromkeys((*a.throttled, *b.throttled))),
        reports_throttling=a.reports_throttling or b.reports_throttling,
        clock_jump_s=max(jumps, key=abs, default=None),
        repeated=a.repeated or b.repeated,
    )


def _largest(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)
