"""Lines of the report on the device's state while candidates were measured."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.conditions import FREQUENCY, GPU, TEMPERATURE, THROTTLING
from paretune.study.results import CandidateEntry, Results

_OF_PROCESSOR = (FREQUENCY, TEMPERATURE, THROTTLING)


def condition_lines(candidate: CandidateEntry) -> list[str]:
    """Return what the device reported while a candidate was measured; empty: nothing."""
    seen = candidate.conditions
    if seen is None:
        return []
    figures = []
    if seen.frequency_mhz is not None:
        of = "" if seen.most_mhz is None else f" of {seen.most_mhz:,.0f}"
        figures.append(f"{seen.frequency_mhz:,.0f}{of} MHz")
    if seen.temperature_c is not None:
        figures.append(f"{seen.temperature_c:.0f} °C")
    if seen.gpu_mhz is not None:
        figures.append(f"GPU {seen.gpu_mhz:,.0f} MHz")
    if seen.gpu_temperature_c is not None:
        figures.append(f"GPU {seen.gpu_temperature_c:.0f} °C")
    found = [", ".join(figures)] if figures else []
    if seen.throttled:
        found.append(f"measured while the device was throttled: {', '.join(seen.throttled)}")
    elif seen.repeated:
        found.append("measured again, because the device was throttled the first time")
    if seen.clock_jump_s is not None:
        found.append(f"the device's wall clock was set by {seen.clock_jump_s:+,.0f} s meanwhile")
    return found


def sensors_sentence(results: Results) -> str | None:
    """Return what the device reports of itself while it measures; None: that is not known."""
    if results.sensors is None:
        return None
    lacks = [name for name in _OF_PROCESSOR if name not in results.sensors]
    gpu = " It also reports the frequency and temperature of its GPU." * (GPU in results.sensors)
    if len(lacks) == len(_OF_PROCESSOR):
        return (
            "While it measures, this device reports neither the frequency nor the temperature of "
            f"its processor, nor whether it is throttled; so nothing is known of them.{gpu}"
        )
    there = [name for name in _OF_PROCESSOR if name in results.sensors]
    without = f" It does not report {_listed(lacks, 'or')}." if lacks else ""
    return f"While it measures, this device reports {_listed(there, 'and')}.{without}{gpu}"


def _listed(words: Sequence[str], last: str) -> str:
    *front, end = words
    return f"{', '.join(front)} {last} {end}" if front else end
