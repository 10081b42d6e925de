"""Is what is shipped truly within the tolerance of the best, and is what is said of it true."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import table
from deciding.world import answers, draw_world, outcomes

from paretune.search.constraints import Objective
from paretune.search.standing import stand

_OBJECTIVES = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))
_TOLERANCE = 0.01
_EXAMPLES = (100, 400, 1600)


def run(studies: int) -> tuple[str, dict[str, Any]]:
    """Return, by number of examples, how often the pick is beyond the tolerance."""
    rng = np.random.default_rng(0)
    rows, figures = [], []
    for n in _EXAMPLES:
        beyond = 0
        for _ in range(studies):
            world = draw_world(rng, int(rng.integers(5, 30)))
            found = outcomes(answers(world, n, rng), world.ms)
            best = stand(found, _OBJECTIVES, (), found[0]).best
            assert best is not None
            beyond += world.accuracy[best - 1] < world.accuracy.max() - _TOLERANCE
        figures.append({"n": n, "beyond": beyond / studies})
        rows.append([n, beyond / studies])
    return table(("examples", "beyond the tolerance"), rows), {"cases": figures}
