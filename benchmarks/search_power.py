"""How much time a search takes to find the front: python benchmarks/search_power.py --table cells.

Recorded tables are searched in virtual time, by paretune's strategies through the real engine and
by peers; `search_power.yaml` has the problems and everybody's settings.

The score of a run is the virtual time until the candidates that it would hand over (its feasible
front by its own measurements) have 99 % of the feasible hypervolume of the exhaustive front, both
by true mean values. A run ends there or after 120 asks. One that has not got there enters with the
time at its end, which is a lower bound, and is marked by `>=`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, table
from simulator.cells import CellsTable
from simulator.problem import Problem, make_problem
from simulator.searching import Simulation

CELLS = ROOT.parent / "shared" / "data" / "recorded-cells" / "cells.csv.gz"
SETTINGS = Path(__file__).with_suffix(".yaml")


def problems(cells: Path, seed: int) -> list[Problem]:
    """Return the problems of a seed: each seed has one of the devices."""
    told: dict[str, Any] = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["tables"]["cells"]
    devices = told["devices"]
    recorded = CellsTable(cells, devices[seed % len(devices)])
    return [make_problem(name, recorded, each) for name, each in told["problems"].items()]


def main() -> None:
    """Run the searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="cells", choices=["cells"])
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["random", "tpe", "nsga2"])
    given = parser.parse_args()
    rows = []
    for seed in range(given.seeds):
        for problem in problems(given.cells, seed):
            for name in given.only:
                curve = Simulation(problem, name, seed).run()
                reached = curve.reached_s
                shown = f">= {curve.end_s:.0f}" if reached is None else f"{reached:.0f}"
                last = curve.volumes[-1] if curve.volumes else 0.0
                rows.append([problem.table.name, problem.name, name, seed, curve.asks, shown, last])
                print(*rows[-1], f"cpu {curve.cpu_s:.1f} s", flush=True)
    print(table(["table", "problem", "search", "seed", "asks", "s to 99 %", "share"], rows))


if __name__ == "__main__":
    main()
