"""Choosing a cell for device B by a few measurements there, with a study on device A as prior.

Every cell is trained already, as for the choice on A alone: what is paid on B is the measuring.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from simulator.cells import OPERATIONS, SEEDS, CellsTable
from simulator.problem import Problem
from simulator.searching import Simulation
from simulator.tables import Recipe

from paretune.core.candidate import Candidate
from paretune.core.measurement import Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.priors import Prior
from paretune.search.space import PassSlot, Space

LATENCY = "latency_ms_p50"
_FIXED = {"seeds": (SEEDS,), "precision": ("fp32",)}


@dataclass(frozen=True)
class TrainedCells(CellsTable):
    """The cells in fp32 on one device, all trained and built."""

    @cached_property
    def space(self) -> Space:
        """Six operations each; the accuracy is the mean of all seeds."""
        places = {f"op{place}": OPERATIONS for place in range(6)}
        return Space(
            (
                PassSlot("train", {**places, "seeds": _FIXED["seeds"]}),
                PassSlot("quantize", {"precision": _FIXED["precision"]}),
            )
        )

    def seconds(self, recipe: Recipe) -> float:
        """Return 0: it is built."""
        del recipe
        return 0.0

    def estimate(self, recipe: Recipe) -> float | None:
        """Return 0: it is built."""
        del recipe
        return 0.0


def study_on(table: CellsTable, seed: int = 0) -> Prior:
    """Return a study of all cells on a device, each measured once, as seen from another device."""
    results = []
    for number, candidate in enumerate(table.space, start=1):
        if table.missing(candidate) is not None:
            continue
        draw = random.Random(f"{seed}/{table.device}/{number}")
        measured = [
            value
            for slot in table.evaluators
            for value in table.measure(candidate, slot, Rung.FULL, None, draw).values
        ]
        by_name = {value.metric: replace(value, samples=()) for value in measured}
        results.append(TrialResult(number, candidate, OutcomeKind.OK, measurements=by_name))
    count = len(results)
    return Prior(table.device, False, True, True, True, count, results, count)


def chosen(
    path: Path, device: str, least: float, priors: Sequence[Prior], asks: int, seed: int
) -> Candidate | None:
    """Return the pick of a search on a device after some measurements; None: nothing is feasible.

    Args:
        path: The cells.
        device: That the search measures on.
        least: Accuracy in percent that the choice must have.
        priors: Earlier studies.
        asks: How many candidates are measured.
        seed: Of the search and of the noise.
    """
    table = TrainedCells(path, device)
    problem = Problem(
        table.name,
        table,
        (Objective(LATENCY, "minimize"),),
        (parse_constraint(f"accuracy >= {least / 100:g}"),),
        {LATENCY: 1e9},
    )
    search = Simulation(problem, "chains", seed, asks, stop_at=None, scored=False, priors=priors)
    search.run()
    best = search.engine.summary().best
    return next((o.candidate for o in search.recorder.outcomes if o.id == best), None)
