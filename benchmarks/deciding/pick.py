"""Is what is shipped truly within the tolerance of the best, and is what is said of it true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from common import table
from deciding.parallel import simulate
from deciding.world import FORMS, World, answers, draw_world, outcomes

from paretune.core.measurement import Measurement
from paretune.core.result import TrialResult
from paretune.search.confirm.confidence import SETTLED, confidence
from paretune.search.confirm.selection_bias import selection_bias
from paretune.search.constraints import Objective
from paretune.search.summary import summarize
from paretune.search.tolerance import Tolerance
from paretune.stats.intervals import wilson

_EXAMPLES = (100, 400, 1600)
_TOLERANCES = (0.01, 0.02, 0.05)
_RULES = ("within", "intervals overlap", "most accurate")
_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, SETTLED, 1.0000001)


def run(studies: int, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Return, by number of examples, how the pick fares and what is said of it."""
    cases: list[dict[str, Any]] = []
    for n in _EXAMPLES:
        rows = simulate(_study, [(form, n) for _ in range(studies) for form in FORMS], n, seed)
        cases += [_case(n, form, [r for r in rows if r["form"] == form]) for form in FORMS]
        cases.append(_case(n, "all", rows))
    whole = [case for case in cases if case["form"] == "all"]
    shown = [
        table(
            (
                "examples",
                "studies",
                "said >= 0.95",
                "of those truly within",
                *(f"beyond the tolerance: {rule}" for rule in _RULES),
                *(f"speed kept: {rule}" for rule in _RULES),
            ),
            [
                [
                    c["n"],
                    c["studies"],
                    c["sure"],
                    c["sure_and_within"],
                    *(c["rules"][rule]["beyond"] for rule in _RULES),
                    *(c["rules"][rule]["speed"] for rule in _RULES),
                ]
                for c in whole
            ],
        ),
        table(
            (
                "examples",
                "form",
                "said >= 0.95",
                "of those truly within",
                "said on average",
                "truly within",
                "too high, raw",
                "too high, corrected",
            ),
            [
                [
                    c["n"],
                    c["form"],
                    c["sure"],
                    c["sure_and_within"],
                    c["said"],
                    1 - c["rules"]["within"]["beyond"],
                    c["bias"],
                    c["bias_left"],
                ]
                for c in cases
            ],
        ),
        table(
            ("examples", "said between", "studies", "truly within"),
            [
                [c["n"], f"{b['from']:g} and {min(1, b['to']):g}", b["studies"], b["within"]]
                for c in whole
                for b in c["bins"]
            ],
        ),
    ]
    return "\n\n".join(shown), {"cases": cases}


def _study(rng: np.random.Generator, form: str, n: int) -> dict[str, Any]:
    """Return what one study picks by each rule, what it says, and the truth."""
    tolerance = float(rng.choice(_TOLERANCES))
    objectives = (
        Objective("accuracy", "maximize", Tolerance(tolerance)),
        Objective("decode_ms_p50", "minimize"),
    )
    world = draw_world(rng, form)
    found = outcomes(answers(world, n, rng), world.ms, seed=int(rng.integers(1 << 30)))
    summary = summarize(found, objectives, (), found[0])
    told = confidence(found, summary, objectives, found[0], find_examples=False)
    assert told is not None
    assert told.probability is not None
    bias = selection_bias(found, summary, objectives, (), found[0])
    assert bias is not None
    picks = {
        "within": told.id,
        "intervals overlap": overlapping(found, summary.front),
        "most accurate": _most_accurate(found),
    }
    truth = float(world.accuracy[told.id - 1])
    return {
        "form": form,
        "said": told.probability,
        "rules": {rule: _fares(world, id - 1, tolerance) for rule, id in picks.items()},
        "bias": bias.raw - truth,
        "bias_left": bias.corrected - truth,
    }


def _fares(world: World, pick: int, tolerance: float) -> tuple[bool, float]:
    """Return whether a pick truly is within, and the oracle's time over its time."""
    allowed = world.accuracy >= world.accuracy.max() - tolerance - 1e-12
    return bool(allowed[pick]), float(world.ms[allowed].min() / world.ms[pick])


def _case(n: int, form: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    said = np.array([row["said"] for row in rows])
    within = np.array([row["rules"]["within"][0] for row in rows])
    sure = said >= SETTLED
    rules = {}
    for rule in _RULES:
        fares = [row["rules"][rule] for row in rows]
        kept = [min(1.0, speed) for _, speed in fares]
        rules[rule] = {
            "beyond": float(np.mean([not ok for ok, _ in fares])),
            "speed": float(np.mean(kept)),
        }
    bins = []
    for low, high in pairwise(_BINS):
        inside = (said >= low) & (said < high)
        bins.append(
            {
                "from": low,
                "to": high,
                "studies": int(inside.sum()),
                "within": float(within[inside].mean()) if inside.any() else None,
            }
        )
    return {
        "n": n,
        "form": form,
        "studies": len(rows),
        "sure": float(sure.mean()),
        "sure_studies": int(sure.sum()),
        "sure_and_within": float(within[sure].mean()) if sure.any() else None,
        "said": float(said.mean()),
        "rules": rules,
        "bins": bins,
        "bias": float(np.mean([row["bias"] for row in rows])),
        "bias_left": float(np.mean([row["bias_left"] for row in rows])),
    }


def overlapping(found: Sequence[TrialResult], front: Sequence[int]) -> int:
    """Return the pick by the rule before: the fastest whose interval overlaps the leader's."""
    accuracy = {o.id: _accuracy(o) for o in found if o.id in front}
    leader = max(accuracy.values(), key=lambda m: m.value or 0.0)
    n = leader.n
    low, _ = wilson(round((leader.value or 0.0) * n), n)
    left = [o for o in found if o.id in front and (accuracy[o.id].high or 0.0) >= low]
    return min(left, key=lambda o: o.value("decode_ms_p50") or 0.0).id


def _most_accurate(found: Sequence[TrialResult]) -> int:
    return max(
        found, key=lambda o: (o.value("accuracy") or 0.0, -(o.value("decode_ms_p50") or 0))
    ).id


def _accuracy(outcome: TrialResult) -> Measurement:
    return (outcome.measurements or {})["accuracy"]
