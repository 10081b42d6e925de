"""Choosing on one device for another: python benchmarks/search_devices.py.

On the recorded cells: the fastest cell by device A at a CIFAR-100 accuracy of at least 65, 68, 70
or 72 %, run on device B, against B's own fastest. How much slower it is, over all pairs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from common import save, table
from search_power import CELLS
from simulator.cells import Cell, read_cells

ACCURACIES = (65.0, 68.0, 70.0, 72.0)


def ratios(cells: Sequence[Cell]) -> list[tuple[float, str, str, float]]:
    """Return how many times slower the choice by A is on B than B's own: ``(ratio, A, B, %)``."""
    devices, found = tuple(cells[0].ms), []
    for least in ACCURACIES:
        good = [cell for cell in cells if cell.mean >= least]
        fastest = {device: min(good, key=lambda cell: cell.ms[device]) for device in devices}
        found += [
            (fastest[a].ms[b] / fastest[b].ms[b], a, b, least)
            for a in devices
            for b in devices
            if a != b
        ]
    return sorted(found)


def main() -> None:
    """Print the table; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    given = parser.parse_args()
    found = ratios(list(read_cells(given.cells).values()))
    values = [ratio for ratio, *_ in found]
    told = {
        "cases": len(values),
        "median": statistics.median(values),
        "p90": values[int(0.9 * len(values))],
        "worst": values[-1],
        "worst_case": f"{found[-1][1]} to {found[-1][2]}",
    }
    print(table(["what", "times slower"], [[name, value] for name, value in told.items()]))
    print(save("search_devices", {"chosen_on_another": told}))


if __name__ == "__main__":
    main()
