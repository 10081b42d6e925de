"""What the report says of the trained model that a candidate is built from."""

from __future__ import annotations

from paretune.reporting.answer import number
from paretune.study.results import CandidateEntry


def parent_lines(candidate: CandidateEntry) -> list[str]:
    """Return a line for each metric of a candidate's parent, with what the build costs."""
    parent = candidate.parent
    if parent is None:
        return []
    lines = []
    for name, m in parent.metrics.items():
        if m.value is None:
            continue
        line = f"{name} before its build {number(m.value)} ({m.n} samples)"
        cost = parent.costs.get(name)
        if cost is not None:
            line += f"; the build changes it by {cost.value:+.4g}"
            if cost.low is not None and cost.high is not None:
                line += f" ({number(cost.low)} to {number(cost.high)})"
            line += f" on the same {cost.n}"
        lines.append(line)
    return lines
