"""What a search costs while it grows: python benchmarks/search_cost.py [--trials 10000].

Simulated trials go through the real engine, in virtual time and without processes. By tenth of the
search: processor milliseconds of a trial in the engine and in the strategy's answer (`ask`), and
the memory of the process. Every outcome stays in memory, so memory grows by what a trial holds,
which is reported in bytes. Writing a study is measured by `growth.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import OUT, save, table
from search_power import CELLS, SETTINGS
from simulator.cells import CellsTable
from simulator.comparison import runs_here
from simulator.problem import Problem, make_problem
from simulator.searching import EndedError, Simulation

from paretune.core.result import TrialResult

_PARTS = 10
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def grow(problem: Problem, strategy: str, trials: int, most_s: float) -> dict[str, Any]:
    """Search; returns the figures by tenth.

    Args:
        problem: What is searched for.
        strategy: Its name.
        trials: How many.
        most_s: Seconds of processor time after which it ends.
    """
    process, stamps, memory = psutil.Process(), [time.process_time()], list[int]()
    stop = stamps[0] + most_s

    def seen(outcome: TrialResult) -> None:
        stamps.append(time.process_time())
        memory.append(process.memory_info().rss)
        if stamps[-1] > stop:
            raise EndedError

    simulation = Simulation(
        problem, strategy, 0, asks=trials, stop_at=None, scored=False, seen=seen
    )
    simulation.run()
    asks, count = simulation.counted.seconds, len(stamps) - 1
    size = max(1, count // _PARTS)
    parts = []
    for begin in range(0, size * _PARTS, size):
        end = min(begin + size, count)
        if end <= begin:
            break
        whole, asking = stamps[end] - stamps[begin], asks[begin:end]
        parts.append(
            {
                "trials": end,
                "engine_ms": 1000 * max(0.0, whole - sum(asking)) / (end - begin),
                "ask_ms": 1000 * statistics.median(asking),
                "ask_ms_most": 1000 * max(asking),
                "memory_mb": memory[end - 1] / 1e6,
            }
        )
    first, last = parts[0], parts[-1]
    held = 1e6 * (last["memory_mb"] - first["memory_mb"]) / max(1, last["trials"] - size)
    return {"trials": count, "parts": parts, "bytes_per_trial": held}


def draw(found: dict[str, dict[str, Any]], path: Path) -> Path:
    """Write seconds per ask over the number of trials, by strategy."""
    width, height, left = 560, 320, 60
    points = {
        name: [(part["trials"], part["ask_ms"] / 1000) for part in told["parts"]]
        for name, told in found.items()
    }
    most_x = max((x for each in points.values() for x, _ in each), default=1)
    most_y = max((y for each in points.values() for _, y in each), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 150}" '
        f'height="{height + 60}" font-family="sans-serif" font-size="11">',
        f'<text x="{left}" y="16" font-weight="bold">seconds per ask, median of a tenth</text>',
        f'<text x="4" y="34">{most_y:.3g} s</text><text x="4" y="{height + 30}">0</text>',
        f'<text x="{left + width - 60}" y="{height + 48}">{most_x} trials</text>',
        f'<path d="M{left} 30 V{height + 30} H{left + width}" stroke="#999" fill="none"/>',
    ]
    for place, (name, each) in enumerate(points.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        line = " ".join(
            f"{left + x / most_x * width:.1f},{30 + (1 - y / most_y) * height:.1f}" for x, y in each
        )
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{left + width + 10}" y="{40 + 15 * place}" fill="{colour}">{name}</text>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(parts) + "</svg>\n", encoding="utf-8")
    return path


def rows_of(name: str, told: dict[str, Any]) -> Sequence[Sequence[Any]]:
    """Return a strategy's lines of the table: its first, fifth and last tenth."""
    parts, held = told["parts"], f"{told['bytes_per_trial']:.0f}"
    rows = []
    for part in (parts[0], parts[len(parts) // 2], parts[-1]):
        times = (f"{part[key]:.3g}" for key in ("engine_ms", "ask_ms", "ask_ms_most"))
        rows.append([name, part["trials"], *times, f"{part['memory_mb']:.0f}", held])
    return rows


def main() -> None:
    """Grow a search by each strategy; print the table, write the JSON and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", default=["chains", "exhaustive", "random", "nsga2"])
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    parser.add_argument("--most-s", type=float, default=900.0, help="processor seconds of each")
    given = parser.parse_args()
    told = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["tables"]["cells"]
    name, settings = next(iter(told["problems"].items()))
    recorded = CellsTable(given.cells, told["devices"][0])
    # Every real search has a baseline, which is its first trial.
    first = {"baseline": recorded.space.at(0).to_json()}
    problem = make_problem(name, recorded, {**settings, **first})
    found, rows = {}, list[Sequence[Any]]()
    for strategy in given.only:
        if not runs_here({"kind": "paretune", "strategy": strategy}, None):
            print(f"{strategy}: there is no such strategy")
            continue
        found[strategy] = grow(problem, strategy, given.trials, given.most_s)
        rows += rows_of(strategy, found[strategy])
        print(f"{strategy}: {found[strategy]['trials']} trials", flush=True)
    head = ["strategy", "trials", "engine, ms a trial", "ask, ms", "longest ask", "MB", "B a trial"]
    print(table(head, rows))
    print(draw(found, OUT / "search_cost.svg"))
    print(save("search_cost", {"strategies": found}))


if __name__ == "__main__":
    main()
