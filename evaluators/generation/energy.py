"""Joules per decoded token: what the device's counters counted while the requests ran.

The value includes the power that the device takes when nothing runs, which is measured before.
"""

from __future__ import annotations

import time
from dataclasses import replace

from paretune.core.details import Details
from paretune.core.energy import EnergyMeter, EnergyUse, NoEnergyCounterError
from paretune.core.measurement import Measurement
from paretune.evaluators.base import Budget
from paretune.evaluators.generation.timing import Effort
from paretune.evaluators.generation.workload import Case
from paretune.stats.pooling import PROTOCOL

_NAME = "energy_per_token_j"
_IDLE_S = 1.0
_LONGER = 1.1
"""Times the shortest time that a meter can measure: a window must not end just before it."""


def energy_name(case: Case) -> str:
    """Return the metric of a case."""
    return f"{_NAME}{case.suffix}"


class EnergyPerToken:
    """Measures the energy of one case.

    Args:
        case: What each request is.
        settings: What is kept with each measurement of the case.
        sources: The counters, by name; empty: those that there are.
        budget: Opens them.

    Attributes:
        meter: Counts while the requests run; None: there is none.
    """

    def __init__(self, case: Case, settings: Details, sources: str, budget: Budget) -> None:
        self._case = case
        self._settings = settings
        self._sources = sources
        self._budget = budget
        self.meter, self._missing = _opened(sources, budget)
        self._idle_w: float | None = None

    def measure_idle(self) -> None:
        """Measure the power with the model loaded and nothing running."""
        meter, _ = _opened(self._sources, self._budget)
        if meter is None:
            return
        meter.start()
        time.sleep(max(_IDLE_S, _LONGER * meter.least_s))
        meter.stop()
        if meter.joules is not None:
            self._idle_w = meter.joules / meter.seconds

    def lengthened(self, effort: Effort) -> Effort:
        """Return how much to sample, so that the meter can measure it."""
        least = 0.0 if self.meter is None else _LONGER * self.meter.least_s
        longest = max(effort.at_most_s, least)
        return replace(effort, seconds=max(effort.seconds, least), at_most_s=longest)

    def measurement(self, requests: int) -> Measurement:
        """Return the joules per decoded token.

        Args:
            requests: How many ran while the meter counted.
        """
        name, meter, tokens = energy_name(self._case), self.meter, requests * self._case.new
        joules = None if meter is None else meter.joules
        if meter is None or joules is None:
            why = self._missing if meter is None else meter.reason
            return Measurement(name, None, "J", protocol=PROTOCOL, reason=why)
        value, watts = joules / tokens, joules / meter.seconds
        seconds = round(meter.seconds, 6)
        use = EnergyUse(meter.source, joules, seconds, tokens, watts, self._idle_w)
        return Measurement(
            name,
            value,
            "J",
            n=1,
            protocol=PROTOCOL,
            samples=(value,),
            reason="one process tells no interval",
            details=self._settings.adding(use),
        )


def _opened(sources: str, budget: Budget) -> tuple[EnergyMeter | None, str]:
    """Return a meter, or None and why there is none."""
    if budget.meter is None:
        return None, "the counters of energy cannot be reached here"
    try:
        return budget.meter(sources), ""
    except NoEnergyCounterError as error:  # they were there before the search
        return None, error.message
