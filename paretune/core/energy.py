"""The energy that something took, as a device's own counters count it.

The counters are read by `paretune.targets.worker.energy`; an evaluator gets them in its `Budget`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from paretune.core.errors import UsageError
from paretune.core.part import Part


class NoEnergyCounterError(UsageError):
    """The device has no counter of energy, or it cannot be read."""


class EnergyMeter(Protocol):
    """Counts the energy of the device between `start` and `stop`, of several such times the sum.

    Attributes:
        source: The counters, as text.
        least_s: A shorter time cannot be measured, in seconds.
    """

    source: str
    least_s: float

    @property
    def joules(self) -> float | None:
        """What was counted; None: `reason` says why not."""

    @property
    def seconds(self) -> float:
        """How long it was counted."""

    @property
    def reason(self) -> str | None:
        """Why there is no value; None: there is one."""

    def start(self) -> None:
        """Begin to count; never raises."""

    def stop(self) -> None:
        """Count no more; without `start` before, nothing is done."""


OpensMeter = Callable[[str], EnergyMeter]
"""Opens a meter by the names of its sources (``rapl+nvidia``); an empty text: what there is."""


@dataclass(frozen=True)
class EnergyUse(Part):
    """What is kept with a measured energy.

    Attributes:
        energy_source: The counters.
        joules: What they counted while requests ran, idle power included.
        metered_s: How long that took.
        tokens: Tokens that were decoded in that time.
        watts: Mean power.
        idle_w: Power before, with the model loaded and nothing running; None: it was not measured.
    """

    energy_source: str
    joules: float
    metered_s: float
    tokens: int
    watts: float
    idle_w: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            TypeError: A field is missing, or has a value that it cannot have.
        """
        found = cls(**value)
        numbers = [found.joules, found.metered_s, found.tokens, found.watts]
        numbers += [] if found.idle_w is None else [found.idle_w]
        for number in numbers:
            if not isinstance(number, (int, float)) or not math.isfinite(number):
                raise TypeError(f"expected a number, found {number!r:.60}")
        if not isinstance(found.energy_source, str):
            raise TypeError(f"expected text, found {found.energy_source!r:.60}")
        return found

    def __str__(self) -> str:
        idle = "" if self.idle_w is None else f", of which {self.idle_w:.3g} W when nothing runs"
        return f"energy of {self.energy_source}: {self.watts:.3g} W while requests ran{idle}"
