"""Ends by a limit are tried again once that limit has grown."""

from __future__ import annotations

import pytest
from fake_search import noop

from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.outgrown import has_outgrown, limit_met

TIMEOUT, MEMORY = OutcomeKind.TIMEOUT, OutcomeKind.OUT_OF_MEMORY
OLD_TIMEOUT = "still running after its time limit of 4 s"
OLD_MEMORY = "held 512 MB of memory, more than its limit of 400 MB"


def _ended(kind: OutcomeKind, limit: dict[str, float] | None, reason: str = "") -> TrialResult:
    return TrialResult(1, noop(x=1), kind, reason=reason, limit=limit)


@pytest.mark.parametrize(
    ("kind", "limit", "reason", "seconds", "memory", "given", "again"),
    [
        (TIMEOUT, {"seconds": 4.0}, "", 5.0, 1e9, True, True),
        (TIMEOUT, {"seconds": 4.0}, "", 4.0, 9e9, True, False),
        (TIMEOUT, {"seconds": 4.0}, "", 3.0, 9e9, True, False),
        (TIMEOUT, {"seconds": 4.0}, "", None, 1e9, True, True),  # no limit any more
        (TIMEOUT, None, OLD_TIMEOUT, 60.0, 1e9, True, True),  # a study of before
        (TIMEOUT, None, OLD_TIMEOUT, 4.0, 1e9, True, False),
        (MEMORY, {"memory": 4e8}, "", 1.0, 5e8, True, True),
        (MEMORY, {"memory": 4e8}, "", 9.0, 4e8, True, False),
        (MEMORY, {"memory": 4e8}, "", 9.0, 4.2e8, False, False),  # what is free varies
        (MEMORY, {"memory": 4e8}, "", 9.0, 8e8, False, True),
        (MEMORY, {"memory": 4e8}, "", 9.0, None, False, True),
        (MEMORY, None, OLD_MEMORY, 9.0, 5e8, True, True),
        (MEMORY, None, OLD_MEMORY, 9.0, 4e8, True, False),
        (MEMORY, None, "MemoryError", 9.0, 9e9, False, False),  # nobody knows how much there was
        (OutcomeKind.CRASHED, {"seconds": 1.0}, OLD_TIMEOUT, 9.0, 9e9, True, False),
        (OutcomeKind.OK, None, "", 9.0, 9e9, True, False),
    ],
)
def test_only_a_limit_that_grew_lets_it_be_tried_again(
    kind: OutcomeKind,
    limit: dict[str, float] | None,
    reason: str,
    seconds: float | None,
    memory: float | None,
    given: bool,
    again: bool,
) -> None:
    today = {"seconds": seconds, "memory": memory}
    assert has_outgrown(_ended(kind, limit, reason), today, given=given) is again


def test_the_limit_survives_the_file() -> None:
    ended = _ended(TIMEOUT, {"seconds": 4.5})
    assert limit_met(TrialResult.from_json(ended.to_json())) == ("seconds", 4.5)
    assert "limit" not in _ended(OutcomeKind.OK, None).to_json()
