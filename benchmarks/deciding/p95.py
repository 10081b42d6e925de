"""Intervals of a p95 and of medians: how often given, how often right, how wide.

A p95 of five processes (and of three), pooled as a search pools them; the truth is the p95 of the
typical process. Beside it what order statistics of all samples give, as if these were independent.
Then medians of three processes of candidates in a study of twenty, with what the study knows of how
far processes lie apart, and without.
"""

from __future__ import annotations

import statistics
from functools import cache
from typing import Any

import numpy as np
from common import table
from deciding.parallel import simulate

from paretune.core.measurement import Measurement
from paretune.stats.intervals import percentile
from paretune.stats.pooling import interval, pool
from paretune.stats.process_spread import learnt

_SLOWER = 1.2
_TAILS = ("light", "heavy", "edge", "uneven", "bursts")
_SAMPLES = (60, 120, 250)
_P50, _P95 = "decode_ms_p50", "decode_ms_p95"
_CANDIDATES = 20


def run(studies: int, seed: int = 0) -> tuple[str, dict[str, Any]]:
    """Return the shares that are given and that cover, with the widths."""
    rows, cases = [], []
    for processes in (3, 5):
        for tail in _TAILS:
            for spells in (0.0, 0.15):
                given: list[tuple[bool, bool, float, bool]] = []
                for samples in _SAMPLES:
                    given += simulate(
                        _p95,
                        [(processes, tail, spells, samples, _truth(tail, spells))] * studies,
                        samples,
                        seed,
                    )
                told = [one for one in given if one[0]]
                case = {
                    "processes": processes,
                    "tail": tail,
                    "spells": spells,
                    "n": len(given),
                    "given": len(told) / len(given),
                    "covered": float(np.mean([one[1] for one in told])),
                    "median_width": statistics.median(one[2] for one in told),
                    "covered_as_one_sample": float(np.mean([one[3] for one in given])),
                }
                cases.append(case)
                rows.append([processes, tail, spells, *list(case.values())[4:]])
    five = [case for case in cases if case["processes"] == 5]
    whole = {
        "given": statistics.fmean(c["given"] for c in five),
        "covered": statistics.fmean(c["covered"] for c in five),
        "median_width": statistics.median(c["median_width"] for c in five),
    }
    shown = table(
        (
            "processes",
            "tail",
            "slow spells",
            "given",
            "covered",
            "median width",
            "covered as one sample",
        ),
        rows,
    )
    shown += "\n\nfive processes, all cases: " + ", ".join(f"{k} {v:.3f}" for k, v in whole.items())
    rows, spreads = [], []
    for spells in (0.0, 0.15):
        for uneven in (0.0, 0.5, 1.0):
            seen = simulate(_spread, [(spells, uneven)] * max(20, studies // 4), 3, seed)
            parts = np.concatenate(seen)
            case = {
                "spells": spells,
                "uneven": uneven,
                "n": len(parts),
                "covered": float(parts[:, 0].mean()),
                "width": float(np.median(parts[:, 1])),
                "widest_tenth": float(np.quantile(parts[:, 1], 0.9)),
                "alone_covered": float(parts[:, 2].mean()),
                "alone_width": float(np.median(parts[:, 3])),
                "alone_widest_tenth": float(np.quantile(parts[:, 3], 0.9)),
            }
            spreads.append(case)
            rows.append(list(case.values()))
    head = (
        "slow spells",
        "unevenness",
        "n",
        "covered",
        "median width",
        "widest tenth",
        "alone: covered",
        "median width",
        "widest tenth",
    )
    shown += "\n\n" + table(head, rows)
    return shown, {"p95": cases, "five_processes": whole, "spread": spreads}


def _tokens(rng: np.random.Generator, tail: str, n: int) -> Any:
    """Draw the times of a process's tokens, in order, with a median of about 1."""
    base = np.exp(rng.normal(0, 0.03, n))
    if tail == "heavy":
        return base * (1 + rng.exponential(0.05, n))
    if tail == "edge":  # a twenty-fifth of the tokens takes a third longer: near the p95
        return np.where(rng.random(n) < 0.04, 1.3 * base, base)
    if tail == "uneven":  # each process has a tail of its own
        return np.where(rng.random(n) < rng.uniform(0.02, 0.10), 1.3 * base, base)
    if tail == "bursts":  # eight tokens in a row
        slow = np.repeat(rng.random(n // 8 + 1) < 0.08, 8)[:n]
        return np.where(slow, 1.3 * base, base)
    return base


def _speed(rng: np.random.Generator, spells: float, n: int) -> Any:
    return np.exp(rng.normal(0, 0.03, n)) * np.where(rng.random(n) < spells, _SLOWER, 1.0)


@cache
def _truth(tail: str, spells: float) -> float:
    """Return the p95 of what all processes give, each at the typical process's speed."""
    rng = np.random.default_rng(1)
    shape = np.concatenate([_tokens(rng, tail, 1000) for _ in range(1000)])
    return float(np.quantile(shape, 0.95) * np.median(_speed(rng, spells, 500_000)))


def _p95(
    rng: np.random.Generator, processes: int, tail: str, spells: float, n: int, truth: float
) -> tuple[bool, bool, float, bool]:
    """Return whether there is an interval, whether it covers, its width, and the naive one's."""
    blocks, everything = [], []
    for speed in _speed(rng, spells, processes):
        samples = tuple(float(v) for v in speed * _tokens(rng, tail, n))
        everything += samples
        blocks.append(
            {
                _P50: Measurement(_P50, statistics.median(samples), "ms", n=n, samples=samples),
                _P95: Measurement(_P95, None, "ms", reason="too few"),
            }
        )
    m = pool(blocks)[_P95]
    naive = percentile(everything, 0.95)
    as_one = naive is not None and naive[1] <= truth <= naive[2]
    if m.low is None or m.high is None:
        return False, False, 0.0, as_one
    return True, m.low <= truth <= m.high, m.high / m.low - 1, as_one


def _spread(rng: np.random.Generator, spells: float, uneven: float) -> Any:
    """Return, for each candidate of a study: covered, width; the same of its processes alone."""
    sigmas = 0.03 * np.exp(rng.normal(0, uneven, _CANDIDATES))
    found, values = [], []
    for sigma in sigmas:
        slow = np.where(rng.random((4001,)) < spells, _SLOWER, 1.0)
        drawn = slow * np.exp(rng.normal(0, sigma, 4001))
        values.append([float(v) for v in drawn[:3]])
        found.append(float(np.median(drawn[3:])))
    spread, rows = learnt(values), []
    for truth, own in zip(found, values, strict=True):
        row: list[float] = []
        for known in (spread, None):
            low, high = interval(own, None, known)
            assert low is not None
            assert high is not None
            row += [float(low <= truth <= high), high / low - 1]
        rows.append(row)
    return np.asarray(rows)
