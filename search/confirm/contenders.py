"""Which candidates may be the best by the first objective, for all that their errors say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paretune.core.result import TrialResult
from paretune.search.confirm.joint import errors_of
from paretune.search.constraints import Objective

_MAX_RIVALS = 120
_MAX_COMPARED = 400
_FAR = 8.0
"""Standard errors beyond the tolerance from which on a candidate cannot be the best."""


def contenders(
    ok: Sequence[TrialResult], pick: TrialResult, first: Objective, baseline: TrialResult | None
) -> list[TrialResult]:
    """Return the pick, the baseline, and who may be the best by the first objective."""
    own = pick.value(first.metric)
    assert own is not None

    def gap(outcome: TrialResult) -> float:
        """By how much it is worse than the pick."""
        value = outcome.value(first.metric)
        return math.inf if value is None else first.shortfall(value, own)

    # The nearest first: of thousands the covariance would not fit into memory.
    leading = sorted((o for o in ok if o.id != pick.id), key=gap)[:_MAX_COMPARED]
    errors = errors_of([pick, *leading], first.metric)

    def may_be_best(outcome: TrialResult) -> bool:
        if outcome.id not in errors.column:
            return False
        i, j = errors.column[outcome.id], errors.column[pick.id]
        if errors.covariance is not None:
            s = errors.covariance
            spread = math.sqrt(max(0.0, s[i, i] + s[j, j] - 2 * s[i, j]))
        else:
            spread = abs(own) * math.hypot(errors.scale[i], errors.scale[j])
        return gap(outcome) <= first.within.reach(own) + _FAR * spread

    near = [o for o in leading if may_be_best(o)][:_MAX_RIVALS]
    wanted = {o.id for o in near} | {pick.id}
    if baseline is not None:
        wanted.add(baseline.id)
    return [o for o in ok if o.id in wanted]
