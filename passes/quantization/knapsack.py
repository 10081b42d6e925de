"""The 0-1 knapsack problem, solved exactly by SciPy's mixed-integer solver (HiGHS)."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.errors import PassError

_GAP = 1e-9
"""Of the best value: differences below it do not count."""


def best_items(values: Sequence[float], costs: Sequence[float], room: float) -> list[bool]:
    """Return which items have the largest sum of values without costing more than there is room.

    Args:
        values: Of the items; one that is not positive is never taken.
        costs: Of the items, not negative, in the same order.
        room: Largest sum of costs, not negative.

    Raises:
        PassError: The solver has not finished.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    wanted = [place for place, value in enumerate(values) if value > 0]
    taken = [False] * len(values)
    if not wanted:
        return taken
    worth = np.array([values[place] for place in wanted], dtype=float)
    weights = np.array([costs[place] for place in wanted], dtype=float)
    unit = weights.sum() or 1.0  # the solver's tolerances are absolute
    found = milp(
        -worth / worth.max(),
        integrality=np.ones(len(wanted)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(weights[np.newaxis] / unit, -np.inf, room / unit),
        options={"mip_rel_gap": _GAP},
    )
    if found.status != 0:
        raise PassError(f"budget: the solver (SciPy's milp) has not finished: {found.message}")
    for place, share in zip(wanted, found.x, strict=True):
        taken[place] = bool(share > 0.5)
    # A value below the solver's tolerance, relative to the largest, is nothing to it.
    left = room - sum(costs[place] for place in wanted if taken[place])
    for place in sorted(wanted, key=values.__getitem__, reverse=True):
        if not taken[place] and costs[place] <= left:
            taken[place] = True
            left -= costs[place]
    return taken
