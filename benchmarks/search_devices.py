"""Choosing on one device for another: python benchmarks/search_devices.py.

On the recorded cells: the fastest cell by device A at a CIFAR-100 accuracy of at least 65, 68, 70
or 72 %, run on device B, against B's own fastest: how many times slower it is. Then the same for a
search on B of ten measurements that takes a study of all cells on A as prior (`search --from`), for
the ten fastest cells by A when all ten are measured on B, and for a search of ten measurements
without a prior. The searches run through the real engine and strategy in virtual time, for each
pair of six devices at one of the accuracies. Each run is appended to a file in benchmarks/out; the
same command again goes on, and ``--cases N`` runs the first N of the 30 pairs.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

from common import OUT, save, table
from search_power import CELLS
from simulator.cells import DEVICES, Cell, read_cells
from simulator.devices import LATENCY, TrainedCells, chosen, study_on

from paretune.search.priors import Prior

ACCURACIES = (65.0, 68.0, 70.0, 72.0)
MEASUREMENTS = 10
_RUNS = OUT / "search_devices.jsonl"
Case = tuple[str, str, float]
"""Device A, device B, accuracy in percent."""


def every_case(devices: Sequence[str]) -> list[Case]:
    """Return all pairs of devices at all accuracies."""
    return [(a, b, least) for least in ACCURACIES for a, b in permutations(devices, 2)]


def searched_cases() -> list[Case]:
    """Return each pair of six devices at one accuracy, in an order that mixes them."""
    pairs = list(permutations(DEVICES, 2))
    random.Random(0).shuffle(pairs)
    return [(a, b, ACCURACIES[n % len(ACCURACIES)]) for n, (a, b) in enumerate(pairs)]


@cache
def _fastest(path: Path, device: str, least: float) -> list[Cell]:
    """Return the ten fastest cells of that accuracy on a device."""
    good = [cell for cell in read_cells(path).values() if cell.mean >= least]
    return heapq.nsmallest(MEASUREMENTS, good, key=lambda cell: cell.ms[device])


def by_the_other(path: Path, case: Case, count: int) -> float:
    """Return how many times slower the best on B of the fastest cells by A is than B's fastest."""
    a, b, least = case
    fastest = _fastest(path, a, least)[:count]
    return min(cell.ms[b] for cell in fastest) / _fastest(path, b, least)[0].ms[b]


def searched(path: Path, device: str, least: float, priors: Sequence[Prior]) -> float | None:
    """Return how many times slower the pick of a search is; None: it found nothing feasible."""
    pick = chosen(path, device, least, priors, MEASUREMENTS, seed=0)
    if pick is None:
        return None
    own = _fastest(path, device, least)[0].ms[device]
    return TrainedCells(path, device).truth(pick)[LATENCY] / own


def run(path: Path, most: int) -> list[dict[str, Any]]:
    """Run what is not there yet, and return all runs of the first cases."""
    done: dict[tuple[object, ...], dict[str, Any]] = {}
    if _RUNS.is_file():
        for line in _RUNS.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done[row["a"], row["b"], row["least"]] = row
    study = cache(lambda device: study_on(TrainedCells(path, device)))
    asked: list[tuple[str | None, str, float]] = []
    for a, b, least in searched_cases()[:most]:
        asked += [(a, b, least), (None, b, least)]
    OUT.mkdir(parents=True, exist_ok=True)
    for a, b, least in dict.fromkeys(asked):
        if (a, b, least) not in done:
            priors = () if a is None else (study(a),)
            row = {"a": a, "b": b, "least": least, "times": searched(path, b, least, priors)}
            with _RUNS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            done[a, b, least] = row
    return [done[key] for key in dict.fromkeys(asked)]


def told(found: Mapping[Case, float | None]) -> dict[str, Any]:
    """Return the figures of one way to choose."""
    known = sorted((times, case) for case, times in found.items() if times is not None)
    values = [times for times, _ in known]
    (a, b, least) = known[-1][1]
    return {
        "cases": len(found),
        "without_choice": len(found) - len(known),
        "median": statistics.median(values),
        "p90": values[int(0.9 * len(values))],
        "worst": values[-1],
        "worst_case": f"{a} to {b} at {least:g} %",
    }


def main() -> None:
    """Print the table; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    parser.add_argument("--cases", type=int, default=len(searched_cases()), help="how many pairs")
    given = parser.parse_args()
    path = given.cells
    cases = searched_cases()[: given.cases]
    runs = {(row["a"], row["b"], row["least"]): row["times"] for row in run(path, len(cases))}
    every = every_case(tuple(next(iter(read_cells(path).values())).ms))
    ten = MEASUREMENTS
    content: dict[str, Any] = {
        "chosen_on_another": told({case: by_the_other(path, case, 1) for case in every}),
        "ten_fastest_measured": told({case: by_the_other(path, case, ten) for case in every}),
    }
    if cases:
        content |= {
            "these_chosen_on_another": told({c: by_the_other(path, c, 1) for c in cases}),
            "these_ten_fastest_measured": told({c: by_the_other(path, c, ten) for c in cases}),
            "warm_start": told({case: runs[case] for case in cases}),
            "without_prior": told({(a, b, x): runs[None, b, x] for a, b, x in cases}),
            "losses": [
                {"a": c[0], "b": c[1], "least": c[2], "warm": runs[c], "ten_fastest": other}
                for c in cases
                if (other := by_the_other(path, c, ten)) < (runs[c] or float("inf"))
            ],
        }
    head = ["how", "cases", "no choice", "median", "p90", "worst", "worst case"]
    rows = [[how, *row.values()] for how, row in content.items() if isinstance(row, dict)]
    print(table(head, rows))
    for row in content.get("losses", []):
        print(f"slower than the ten fastest by A: {row}")
    print(save("search_devices", content))


if __name__ == "__main__":
    main()
