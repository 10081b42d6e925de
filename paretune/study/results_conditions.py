"""What ``results.json`` says of the device's state while candidates were measured."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from paretune.core.candidate import counted
from paretune.core.conditions import Conditions, worst
from paretune.core.result import TrialResult
from paretune.study.results_part import Part


class ConditionsEntry(Part):
    """What the device reported while a candidate was measured; what it does not report is absent.

    Of several processes the worst: the lowest frequency, the highest temperature.
    """

    frequency_mhz: float | None = Field(None, description="Of the processor's fastest core.")
    most_mhz: float | None = Field(None, description="The highest that this core can have.")
    temperature_c: float | None = Field(None, description="Of the processor, in degrees Celsius.")
    gpu_mhz: float | None = Field(None, description="Of the GPU that was used.")
    gpu_temperature_c: float | None = Field(None, description="Of the GPU that was used.")
    throttled: list[str] = Field(
        [], description="Why the device was slower than it can be; empty: it was not."
    )
    reports_throttling: bool = Field(
        False, description="Whether the device reports throttling at all."
    )
    clock_jump_s: float | None = Field(
        None, description="By how much the wall clock was set; no duration depends on it."
    )
    repeated: bool = Field(
        False, description="Whether a throttled measurement was thrown away and made again."
    )


def conditions_of(outcome: TrialResult) -> Conditions | None:
    """Return the conditions of all that was measured on a candidate; None: they are not known."""
    measured = (outcome.measurements or {}).values()
    known = (m.details.conditions for m in measured)
    return worst(conditions for conditions in known if conditions is not None)


def sensors_of(outcomes: Sequence[TrialResult]) -> list[str] | None:
    """Return what the device reports while it measures; None: that is not known.

    Args:
        outcomes: Of the candidates that it measured.
    """
    known = [c for c in map(conditions_of, outcomes) if c is not None]
    if not known:
        return None
    return list(dict.fromkeys(name for conditions in known for name in conditions.reported))


def condition_notes(outcomes: Sequence[TrialResult]) -> list[str]:
    """Return sentences on candidates that were measured while something was wrong with the device.

    Args:
        outcomes: Of the study.
    """
    known = {o.id: c for o in outcomes if (c := conditions_of(o)) is not None}
    throttled = {id: c for id, c in known.items() if c.throttled}
    found = []
    all_causes = worst(throttled.values())
    if all_causes is not None:
        found.append(
            f"the device was throttled while {_candidates(list(throttled))} "
            f"{'was' if len(throttled) == 1 else 'were'} measured "
            f"({', '.join(all_causes.throttled)}): it can be faster than these values"
        )
    jumps = [id for id, c in known.items() if c.clock_jump_s is not None]
    if jumps:
        found.append(
            f"the device's wall clock was set while {_candidates(jumps)} "
            f"{'was' if len(jumps) == 1 else 'were'} measured; durations are read from a clock "
            "that is never set, and are right"
        )
    return found


def _candidates(ids: Sequence[int]) -> str:
    if len(ids) > _NAMED:
        return counted(len(ids), "candidate")
    return f"candidate{'s' * (len(ids) > 1)} {', '.join(map(str, ids))}"


_NAMED = 8
"""How many candidates a note lists by number."""
