"""Simulated studies on all cores; each has a seed of its own, so that their order is no matter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import numpy as np

One = TypeVar("One")


def simulate(
    function: Callable[..., One], cases: Sequence[tuple[Any, ...]], part: int = 0, seed: int = 0
) -> list[One]:
    """Return ``function(rng, *case)`` of each case, in order.

    Args:
        function: Of the module's top level.
        cases: Its arguments.
        part: Number of these cases: others have other random numbers.
        seed: 0: the random numbers of the figures in README.md; any other one: new ones.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    more = [seed] if seed else []
    jobs = [(function, [part, i, *more], case) for i, case in enumerate(cases)]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_one, jobs, chunksize=max(1, len(jobs) // (8 * workers))))


def _one(job: tuple[Callable[..., One], list[int], tuple[Any, ...]]) -> One:
    function, seed, case = job
    return function(np.random.default_rng(seed), *case)
