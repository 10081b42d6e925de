"""Ends by a limit of time or memory that is larger today: no facts about a candidate any more."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from paretune.core.result import OutcomeKind, TrialResult

_ENDS = {OutcomeKind.TIMEOUT: "seconds", OutcomeKind.OUT_OF_MEMORY: "memory"}
_FREE_VARIES = 1.1
"""What is free varies: a limit that follows from it has grown if it is so many times larger."""
# Studies of before the limit was recorded have it in the reason's words only.
_TOLD = {
    "seconds": re.compile(r"after its time limit of ([0-9.e+]+) s"),
    "memory": re.compile(r"more than its limit of ([0-9.]+) MB"),
}
_UNIT = {"seconds": 1.0, "memory": 1e6}


def limit_met(outcome: TrialResult) -> tuple[str, float | None] | None:
    """Return by which limit a candidate ended (``seconds`` or ``memory``), and how large it was.

    Returns:
        None if no limit ended it. The size is None where it is not known.
    """
    what = _ENDS.get(outcome.kind)
    if what is None:
        return None
    if outcome.limit is not None and what in outcome.limit:
        return what, outcome.limit[what]
    found = _TOLD[what].search(outcome.reason or "")
    return what, None if found is None else float(found[1]) * _UNIT[what]


def has_outgrown(outcome: TrialResult, today: Mapping[str, float | None], *, given: bool) -> bool:
    """Return whether a candidate ended by a limit that is larger today.

    Args:
        outcome: How it ended.
        today: ``seconds`` and ``memory`` (bytes) that a job may take now; None: no limit.
        given: Whether the limit of memory is the user's; else it follows from what is free.
    """
    met = limit_met(outcome)
    if met is None:
        return False
    what, before = met
    now = today.get(what)
    if before is None:  # it ran out of what the machine has, and nobody noted how much that was
        return False
    if now is None:
        return True
    exact = what == "seconds" or given
    # The reason's words round.
    return now > before * (1.0 + 1e-3 if exact else _FREE_VARIES) and not math.isclose(now, before)
