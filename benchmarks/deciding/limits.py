"""What is said of a candidate 2.5 points below, or above, ``accuracy >= baseline - 0.01``."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import table
from deciding.parallel import simulate
from deciding.world import World, answers, outcomes

from paretune.search.borderline import borderline
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.summary import summarize

_OBJECTIVES = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))
_LIMIT = parse_constraint("accuracy >= baseline - 0.01")


def run(studies: int, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Return how often one candidate beside the baseline is told to be surely feasible."""
    rows, figures = [], []
    for off in (-0.025, 0.0, 0.025):
        for n in (100, 400, 1600):
            seen = simulate(_study, [(off, n)] * (10 * studies), n, seed)
            feasible, sure, alone = (float(np.mean(part)) for part in zip(*seen, strict=True))
            figures.append(
                {
                    "off": off,
                    "n": n,
                    "studies": len(seen),
                    "feasible": feasible,
                    "surely": sure,
                    "unpaired": alone,
                }
            )
            rows.append([f"{100 * off:+.1f} points", n, feasible, sure, alone])
    return table(
        (
            "true accuracy against the limit",
            "examples",
            "feasible by value",
            "surely feasible",
            "the same, unpaired",
        ),
        rows,
    ), {"cases": figures}


def _study(rng: np.random.Generator, off: float, n: int) -> tuple[bool, bool, bool]:
    """Return whether the candidate is feasible by value, surely so, and so without pairing."""
    base = float(rng.uniform(0.7, 0.92))
    world = World(
        np.array([base, base - 0.01 + off]),
        np.array([20.0, 10.0]),
        np.array([0, 1]),
        float(rng.uniform(0.6, 0.9)),
        0.0,
    )
    found = outcomes(answers(world, n, rng), world.ms)
    summary = summarize(found, _OBJECTIVES, [_LIMIT], found[0])
    near = {x.id for x in borderline(found, summary, found[0])}
    meets = 2 in summary.feasible
    low = (found[1].measurements or {})["accuracy"].low or 0.0
    high = (found[0].measurements or {})["accuracy"].high or 1.0
    return meets, meets and 2 not in near, low >= high - 0.01
