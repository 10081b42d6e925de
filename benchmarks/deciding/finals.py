"""Where the finalists' rounds go: how often the pick is right, and after how long, by rule.

Studies of equally accurate candidates of which the fastest is wanted go through the engine and its
re-measurement of the finalists, in virtual time. A process of a candidate takes a second. Processes
differ by 0.5, 1 or 3 %; in a third of the studies 15 % of them meet a slow period of 20 %. Every
rule gets the same studies.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from common import ROOT, table
from deciding.parallel import simulate

from paretune.core.measurement import Measurement
from paretune.search.confirm import topk
from paretune.search.confirm.allocation import Challenger, chosen
from paretune.stats.paired import pair_alpha, pair_sequence
from paretune.stats.pooling import processes_of
from paretune.stats.sequential import Verdict, speed_verdict

_SECONDS = (60.0, 120.0)
_APART = (0.01, 0.03, 0.08)
_NOISE = (0.005, 0.01, 0.03)
_SPELLS, _SLOWER = 0.15, 1.2
_SPEED = "decode_ms_p50"
_TOLD = ("right", "near", "decided", "spent", "wrong")


class _EveryPair(topk.TopK):
    """The rule before: all run in each round, until every pair is distinguished."""

    def members(self, ids: Sequence[int]) -> list[int]:
        return list(ids)

    def decided(self, ids: Sequence[int]) -> bool:
        rows = {id: self._outcome(id).measurements or {} for id in ids}
        return not any(
            speed_verdict(pair_sequence(rows[a], rows[b], o.metric, self._alpha(ids)))
            is Verdict.UNDECIDED
            for a, b in combinations(ids, 2)
            for o in self._objectives
        )

    def _levels(self, found: Mapping[int, Mapping[str, Measurement]]) -> dict[str, float]:
        logs = []
        for id, block in found.items():
            m = (self._outcome(id).measurements or {})[_SPEED]
            own = [p.value for p in processes_of(m) if p.round is None]
            logs.append(math.log(median(own) / (block[_SPEED].value or 1.0)))
        return {_SPEED: math.exp(median(logs))}


def _all_open(challengers: Sequence[Challenger]) -> list[int]:
    return [challenger.id for challenger in challengers]


def _top_two(challengers: Sequence[Challenger]) -> list[int]:
    return [min(challengers, key=lambda challenger: challenger.errors_apart).id]


RULES = {
    "all, every pair (before)": (_EveryPair, _all_open),
    "all that are open": (topk.TopK, _all_open),
    "the nearest (top two)": (topk.TopK, _top_two),
    "the nearest and similar ones (now)": (topk.TopK, chosen),
}


def run(studies: int, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Return, by time and rule, how often the pick is right and what it took."""
    cases = [(s, a) for s in _SECONDS for a in _APART for _ in range(max(1, studies // 4))]
    rows = [row for rows in simulate(_study, cases, 5, seed) for row in rows]
    figures = []
    for seconds in _SECONDS:
        for rule in RULES:
            some = [r for r in rows if r["rule"] == rule and r["seconds"] == seconds]
            shares = {key: float(np.mean([r[key] for r in some])) for key in _TOLD}
            figures.append({"seconds": seconds, "rule": rule, "studies": len(some), **shares})
    heads = ("seconds", "rule", "studies", *_TOLD)
    return table(heads, [[f[head] for head in heads] for f in figures]), {"cases": figures}


def _study(rng: np.random.Generator, seconds: float, apart: float) -> list[dict[str, Any]]:
    """Return how each rule fares in one study."""
    count = int(rng.integers(3, 8))
    times = 10.0 * np.exp(np.concatenate([[0.0], rng.exponential(apart, count - 1)]))
    rng.shuffle(times)
    noise, spells = float(rng.choice(_NOISE)), bool(rng.random() < 1 / 3)
    seed = int(rng.integers(1 << 30))
    return [
        {"rule": rule, "seconds": seconds, **_fares(rule, times, noise, spells, seed, seconds)}
        for rule in RULES
    ]


def _fares(
    rule: str, times: np.ndarray, noise: float, spells: bool, seed: int, seconds: float
) -> dict[str, Any]:
    """Return the pick, the seconds, and whether a verdict is wrong."""
    plugins = str(ROOT / "tests" / "plugins")
    if plugins not in sys.path:
        sys.path.insert(0, plugins)
    from fake_search import IN_TURNS, FakeTarget, make_engine, measures, noop

    rng, now = np.random.default_rng(seed), [0.0]

    class Drawn(FakeTarget):
        def _value(self, job: Any, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if measures(job, "generation"):
                now[0] += 1.0
                slow = _SLOWER if spells and rng.random() < _SPELLS else 1.0
                ms = params["ms"] * slow * math.exp(rng.normal(0, noise))
                value = [Measurement(_SPEED, ms, "ms", 0.99 * ms, 1.01 * ms, 99, "device-2", (ms,))]
            return value

    kind, taken = RULES[rule]
    candidates = [noop(x=i, ms=float(ms), quality=0.9) for i, ms in enumerate(times)]
    with tempfile.TemporaryDirectory() as folder, patch.object(topk, "chosen", taken):
        engine = make_engine(Path(folder), candidates, clock=lambda: now[0])
        engine.target, engine.evaluators = Drawn(), IN_TURNS
        engine.run()
        begun, engine.finals_s = now[0], seconds
        finals = kind(engine)
        finals.run()
        ids = finals.finalists()
    best = engine.summary().best
    assert best is not None
    mine = {o.id: o.measurements or {} for o in engine.recorder.outcomes}
    alpha = pair_alpha(max(2, len(ids)), 1)
    faster = [
        (a, b)
        for a in mine
        for b in mine
        if a != b
        and speed_verdict(pair_sequence(mine[a], mine[b], _SPEED, alpha)).value == "faster"
    ]
    return {
        "right": bool(times[best - 1] == times.min()),
        "near": bool(times[best - 1] <= 1.01 * times.min()),
        "decided": topk.TopK.decided(finals, ids),
        "spent": now[0] - begun,
        "wrong": any(times[a - 1] > times[b - 1] for a, b in faster),
    }
