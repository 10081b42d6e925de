"""What is said of a candidate 2.5 points below, or above, ``accuracy >= baseline - 0.01``."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import table
from deciding.world import World, answers, outcomes

from paretune.search.constraints import Objective, parse_constraint
from paretune.search.near_limits import near_limits
from paretune.search.standing import stand

_OBJECTIVES = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))
_LIMIT = parse_constraint("accuracy >= baseline - 0.01")


def run(studies: int) -> tuple[str, dict[str, Any]]:
    """Return how often one candidate beside the baseline is told to be surely feasible."""
    rng = np.random.default_rng(1)
    rows, figures = [], []
    for off in (-0.025, 0.025):
        for n in (100, 400, 1600):
            sure = feasible = 0
            for _ in range(studies):
                base = rng.uniform(0.6, 0.9)
                world = World(
                    np.array([base, base - 0.01 + off]), np.array([20.0, 10.0]), np.array([0, 1]),
                    float(rng.uniform(0.5, 0.85)), 0.0,
                )  # fmt: skip
                found = outcomes(answers(world, n, rng), world.ms)
                standing = stand(found, _OBJECTIVES, [_LIMIT], found[0])
                near = {x.id for x in near_limits(found, standing, found[0])}
                meets = 2 in standing.feasible
                feasible += meets
                sure += meets and 2 not in near
            figures.append({"off": off, "n": n, "feasible": feasible / studies,
                            "surely": sure / studies})  # fmt: skip
            rows.append([f"{100 * off:+.1f} points", n, feasible / studies, sure / studies])
    return table(("true accuracy against the limit", "examples", "feasible by value",
                  "surely feasible"), rows), {"cases": figures}  # fmt: skip
