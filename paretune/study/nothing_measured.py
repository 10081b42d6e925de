"""What a search says at its end if no candidate came through: that none did, and of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from paretune.study.results import CandidateEntry

_ENDED = {
    "failed": "failed",
    "crashed": "crashed",
    "timeout": "failed: not done within the time limit",
    "out_of_memory": "failed for lack of memory",
    "invalid": "failed: built, but do not load or generate",
    "skipped": "ruled out before any job",
}
_SHOWN = 5
_LONGEST = 300


def nothing_measured(candidates: Sequence[CandidateEntry]) -> list[str]:
    """Return sentences on a study in which every candidate ended without a result.

    Args:
        candidates: The rows of ``results.json``.
    """
    ends = Counter((c.outcome, _first_line(c.reason)) for c in candidates)
    told = [_whole(len(candidates), {outcome for outcome, _ in ends})]
    for (outcome, reason), n in ends.most_common(_SHOWN):
        one = next(
            c.id for c in candidates if (c.outcome, _first_line(c.reason)) == (outcome, reason)
        )
        which = f"candidate {one}" if n == 1 else f"{n} candidates (such as {one})"
        verb = ("was " if n == 1 else "were ") if outcome == "skipped" else ""
        told.append(
            f"{which} {verb}{_ENDED.get(outcome, outcome)}" + (f": {reason}" if reason else ".")
        )
    if len(ends) > _SHOWN:
        told.append(f"There are {len(ends) - _SHOWN} further reasons: see the report.")
    if any(outcome != "skipped" for outcome, _ in ends):
        told.append("What a job printed is in candidates/NUMBER/worker.log, in the study's folder.")
    return told


def _whole(count: int, outcomes: Collection[str]) -> str:
    verb = "was ruled out" if outcomes == {"skipped"} else "failed"
    if count == 1:
        return f"The only candidate {verb}: there is nothing to choose from."
    return f"All {count} candidates {verb.replace('was', 'were')}: there is nothing to choose from."


def _first_line(reason: str | None) -> str:
    line = (reason or "").strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
