"""What a search costs while it grows: python benchmarks/search_cost.py [--trials 10000].

Simulated trials go through the real engine, in virtual time and without jobs; each strategy runs in
a process of its own. By twentieth of the search: seconds of an ask (wall, median and longest),
processor milliseconds of a trial in the search's process beside the ask, and the memory of that
process. Outcomes stay in memory here; a study keeps their samples on disk, and what writing and
opening it costs is measured by `growth.py`.

Strategies whose figures lie in ``benchmarks/out/search_cost.json`` already are not run again,
unless ``--only`` names them. A strategy ends after ``--most-s`` seconds of processor time.

``--after 1000 10000`` measures asks of a strategy that so many random trials were told to before,
in place of growing it from its first trial: 30 asks at each number.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from common import OUT, save, table
from search_power import CELLS, SETTINGS
from simulator.cells import CellsTable
from simulator.comparison import runs_here
from simulator.cost_figure import draw
from simulator.problem import Problem, make_problem
from simulator.searching import EndedError, Simulation

from paretune.core.plugins import find
from paretune.core.result import TrialResult
from paretune.search.strategies.base import Ended, Event, Request, Strategy, View
from paretune.search.strategies.full_trials import as_strategy

STRATEGIES = ("random", "nsga2", "exhaustive", "chains", "tpe")
FIGURE = Path(__file__).resolve().parent / "data" / "search_cost.svg"
_PARTS = 20
_ASKS_AFTER = 30
_ASKED = {1000: 0.2, 10_000: 2.0}
"""Seconds that an ask may take at so many finished trials."""


def grow(problem: Problem, strategy: str, trials: int, most_s: float) -> dict[str, Any]:
    """Search; returns the figures by twentieth.

    Args:
        problem: What is searched for.
        strategy: Its name.
        trials: How many.
        most_s: Seconds of processor time after which it ends.
    """
    process, stamps, memory = psutil.Process(), [time.process_time()], list[int]()
    stop = stamps[0] + most_s

    def seen(outcome: TrialResult) -> None:
        del outcome
        stamps.append(time.process_time())
        memory.append(process.memory_info().rss)
        if stamps[-1] > stop:
            raise EndedError

    simulation = Simulation(
        problem, strategy, 0, asks=trials, stop_at=None, scored=False, seen=seen
    )
    simulation.run()
    asks, busy, count = simulation.counted.seconds, simulation.counted.busy, len(stamps) - 1
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
                "engine_ms": 1000 * max(0.0, whole - sum(busy[begin:end])) / (end - begin),
                "ask_s": statistics.median(asking),
                "ask_s_most": max(asking),
                "memory_mb": memory[end - 1] / 1e6,
            }
        )
    # By then what is loaded once is loaded.
    first, last = parts[len(parts) // 4], parts[-1]
    held = 1e6 * (last["memory_mb"] - first["memory_mb"]) / max(1, last["trials"] - first["trials"])
    return {
        "trials": count,
        "asked": trials,
        "cut_off_s": most_s if stamps[-1] > stop else None,
        "parts": parts,
        "bytes_per_trial": held,
    }


class _After:
    """A strategy that is asked once so many random trials were told to it.

    Args:
        inner: The strategy.
        random: What proposes before.
        trials: How many end before its first ask.
    """

    def __init__(self, inner: Strategy, random: Strategy, trials: int) -> None:
        self._inner, self._random, self._left = inner, random, trials

    def ask(self, view: View) -> Request | None:
        """Return the next request."""
        return (self._random if self._left > 0 else self._inner).ask(view)

    def tell(self, event: Event) -> None:
        """Pass an event on."""
        self._left -= isinstance(event, Ended)
        for each in (self._inner, self._random):
            each.tell(event)


def ask_after(problem: Problem, strategy: str, trials: int) -> dict[str, Any]:
    """Return the seconds of asks after so many random trials.

    Args:
        problem: What is searched for.
        strategy: Its name.
        trials: How many it is told before.
    """

    def make(**given: Any) -> _After:
        inner, random = (as_strategy(find("strategies", n)(**given)) for n in (strategy, "random"))
        return _After(inner, random, trials)

    asks = trials + 1 + _ASKS_AFTER
    simulation = Simulation(problem, make, 0, asks=asks, stop_at=None, scored=False)
    simulation.run()
    # The first ask learns what the random trials showed.
    first, *rest = simulation.counted.seconds[-_ASKS_AFTER - 1 :]
    busy = simulation.counted.busy[-_ASKS_AFTER:]
    return {
        "trials": trials,
        "first_ask_s": first,
        "ask_s": statistics.median(rest),
        "ask_s_most": max(rest),
        "own_process_s": statistics.median(busy),
        "memory_mb": psutil.Process().memory_info().rss / 1e6,
    }


def _problem(cells: Path) -> Problem:
    told = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["tables"]["cells"]
    name, settings = next(iter(told["problems"].items()))
    recorded = CellsTable(cells, told["devices"][0])
    # Every real search has a baseline, which is its first trial.
    first = {"baseline": recorded.space.at(0).to_json()}
    return make_problem(name, recorded, {**settings, **first})


def _ask_after(strategy: str, trials: int, cells: Path) -> dict[str, Any]:
    """Ask in this process, which has run nothing else."""
    return ask_after(_problem(cells), strategy, trials)


def _run(strategy: str, trials: int, most_s: float, cells: Path) -> dict[str, Any]:
    """Search in this process, which has run nothing else."""
    return grow(_problem(cells), strategy, trials, most_s)


def rows_of(name: str, told: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Return a strategy's lines of the table: near 1,000 trials, half of them, and the end."""
    parts, held = told["parts"], f"{told['bytes_per_trial']:.0f}"
    shown = (min(parts, key=lambda p: abs(p["trials"] - 1000)), parts[len(parts) // 2], parts[-1])
    rows = []
    for part in {part["trials"]: part for part in shown}.values():
        times = (f"{part[key]:.3g}" for key in ("engine_ms", "ask_s", "ask_s_most"))
        rows.append([name, part["trials"], *times, f"{part['memory_mb']:.0f}", held])
    return rows


def short_of(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what falls short, a sentence each."""
    lines = []
    for name, told in found.items():
        if told["cut_off_s"] is not None:
            lines.append(
                f"{name}: ended at {told['trials']} trials, after {told['cut_off_s']:.0f} s of "
                "processor time"
            )
        for trials, most in _ASKED.items():
            slow = [p for p in told["parts"] if p["trials"] <= trials and p["ask_s"] >= most]
            if slow:
                lines.append(
                    f"{name}: an ask takes {slow[-1]['ask_s']:.2g} s at {slow[-1]['trials']} "
                    f"trials; at {trials:,} it should take less than {most:g} s"
                )
    return lines


def _known(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    strategies: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("strategies", {})
    return {name: told for name, told in strategies.items() if "asked" in told}


def main() -> None:
    """Grow a search by each strategy; print the table, write the JSON and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", help="run these, again if need be")
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    parser.add_argument("--after", type=int, nargs="+", help="asks after so many random trials")
    parser.add_argument("--most-s", type=float, default=900.0, help="processor seconds of each")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    given = parser.parse_args()
    if given.after:
        _print_asks(given.only or ["chains"], given.after, given.cells)
        return
    found = _known(OUT / "search_cost.json")
    for strategy in given.only or STRATEGIES:
        if not runs_here({"kind": "paretune", "strategy": strategy}, None):
            print(f"{strategy}: there is no such strategy")
            continue
        known = found.get(strategy)
        if known is not None and known["asked"] >= given.trials and not given.only:
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told = pool.apply(_run, (strategy, given.trials, given.most_s, given.cells))
        found[strategy] = told
        print(f"{strategy}: {told['trials']} trials", flush=True)
        save("search_cost", {"strategies": found})
    head = ["strategy", "trials", "engine, ms a trial", "ask, s", "longest ask", "MB", "B a trial"]
    print(table(head, [row for name, told in found.items() for row in rows_of(name, told)]))
    print(*short_of(found), sep="\n")
    print(draw(found, given.figure))
    print(save("search_cost", {"strategies": found}))


def _print_asks(strategies: Sequence[str], after: Sequence[int], cells: Path) -> None:
    """Measure asks after random trials, each number in a process of its own."""
    found = []
    for strategy in strategies:
        for trials in after:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                told = pool.apply(_ask_after, (strategy, trials, cells))
            found.append({"strategy": strategy, **told})
            saved = save("search_asks", {"asks": found})
    print(table(list(found[0]), [list(row.values()) for row in found]))
    print(saved)


if __name__ == "__main__":
    main()
