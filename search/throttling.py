"""A device that reports that it was throttled: what it measured then is measured again, and marked.

The sensors are read in the worker (`paretune.targets.worker.sensors`); here only the conditions of
measurements are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from paretune.core.conditions import worst
from paretune.core.measurement import Measurement

COOL_S = 10.0
"""How long the device may cool before a throttled measurement is made again."""


@dataclass
class Throttling:
    """What a search knows of the throttling of its device.

    Attributes:
        stays: Whether it was throttled in both of the last two measurements.
        cool_s: See `COOL_S`.
        round_noted: Whether a note on a throttled round was given.
    """

    stays: bool = False
    cool_s: float = COOL_S
    round_noted: bool = False


def causes(measured: Iterable[Measurement]) -> str:
    """Return why the device was throttled while something was measured; empty: it was not."""
    known = (m.details.conditions for m in measured)
    found = worst(conditions for conditions in known if conditions is not None)
    return "" if found is None else ", ".join(found.throttled)


def repeated(measured: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """Return measurements with the mark that a throttled one was made before and thrown away."""
    return {
        name: m
        if m.details.conditions is None
        else m.noting(conditions=replace(m.details.conditions, repeated=True))
        for name, m in measured.items()
    }
