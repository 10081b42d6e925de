"""How much time a search takes to find the front: python benchmarks/search_power.py --table cells.

Recorded tables are searched in virtual time, by paretune's strategies through the real engine and
by peers; `search_power.yaml` has the problems and everybody's settings. ``--table PATH`` takes any
other table in the format of `simulator/recorded.py`; its problems are in the table itself.

The score of a run is the virtual time until the candidates that it would hand over (its feasible
front by its own measurements) have 99 % of the feasible hypervolume of the exhaustive front, both
by true mean values. A run ends there or after 120 asks. One that has not got there enters with the
time at its end, which is a lower bound, marked by ``>=``. A table's score of a search is the
geometric mean over its problems of the median over the seeds.

Runs are appended to ``benchmarks/out/search_power_runs.jsonl`` and not done again while their
settings are the same, nor are those in ``benchmarks/data/search_power_runs.jsonl.gz``, which
``--keep`` writes. ``--afresh NAME...`` does those of a search again, after its code changed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from common import OUT, ROOT, save, table
from simulator.cells import CellsTable
from simulator.comparison import Run, Runs, Task, oracle, runs_here, score, tasks
from simulator.curves import draw
from simulator.problem import Problem, make_problem
from simulator.syne_peer import available

CELLS = ROOT.parent / "shared" / "data" / "recorded-cells" / "cells.csv.gz"
OWN = ROOT / "benchmarks" / "data" / "chains.jsonl.gz"
KEPT = ROOT / "benchmarks" / "data" / "search_power_runs.jsonl.gz"
SETTINGS = Path(__file__).with_suffix(".yaml")


def problems_of(
    name: str, cells: Path, told: Mapping[str, Any], seeds: int
) -> dict[int, list[Problem]]:
    """Return the problems of each seed; on `cells` each seed has one of the devices.

    Raises:
        SystemExit: There is no such table.
    """
    if name == "cells":
        settings = told["tables"]["cells"]
        devices = settings["devices"]
        found = {}
        for device in devices[:seeds]:
            recorded = CellsTable(cells, device)
            made = [make_problem(n, recorded, each) for n, each in settings["problems"].items()]
            found[device] = made
        return {seed: found[devices[seed % len(devices)]] for seed in range(seeds)}
    from simulator.recorded import read_table

    path = OWN if name == "own" else Path(name)
    if not path.exists():
        raise SystemExit(f"{path} is not there; expected a table as simulator/recorded.py says")
    own = read_table(path)
    settings = told["tables"][name]["problems"] if name in told["tables"] else own.problems
    made = [make_problem(n, own, each) for n, each in settings.items()]
    return {seed: made for seed in range(seeds)}


def _run(task: Task) -> list[Run]:
    return task.run()


def run_all(todo: Sequence[Task], runs: Runs, workers: int) -> None:
    """Do what is not done yet."""
    left = [
        task
        for task in todo
        if any(runs.find(task.problem, name, task.seed, task.key) is None for name in task.names)
    ]
    print(f"{len(todo) - len(left)} of {len(todo)} runs are known, {len(left)} are done now")
    # Dear ones first, so that they do not remain for the end.
    left.sort(key=lambda task: not task.settings.get("dear", False))
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for number, found in enumerate(pool.imap_unordered(_run, left), start=1):
            for run in found:
                runs.add(run)
                mark = ">= " if run.reached_s is None else ""
                shown = f"{run.problem} {run.search} {run.seed}: {mark}{run.at_least_s:.0f} s"
                told = f"{run.asks} asks, {run.volumes[-1]:.3f}, {run.cpu_s:.0f} s of processor"
                print(f"{number}/{len(left)} {run.table} {shown}, {told}", flush=True)


def compare(todo: Sequence[Task], runs: Runs, ours: str) -> dict[str, Any]:
    """Print the table; return the figures."""
    by_search: dict[str, list[Run]] = {}
    for task in todo:
        for name in task.names:
            run = runs.find(task.problem, name, task.seed, task.key)
            if run is not None:
                by_search.setdefault(name, []).append(run)
    scores = {name: score(found) for name, found in by_search.items()}
    distinct = {id(task.problem): task.problem for task in todo}.values()
    known = {p.name: list[tuple[float, float]]() for p in distinct}
    for problem in distinct:
        known[problem.name].append(oracle(problem))
    means = {
        name: [sum(each[i] for each in found) / len(found) for i in (0, 1)]
        for name, found in known.items()
    }
    rows: list[list[Any]] = []
    for name, one in sorted(scores.items(), key=lambda item: item[1].s):
        cells = [f"{one.problems.get(p, float('nan')):.0f}" for p in known]
        mark = ">= " if one.bound else ""
        rows.append(
            [
                name,
                f"{mark}{one.s:.0f}",
                *cells,
                f"{one.censored} of {one.runs}",
                f"{one.share:.3f}",
            ]
        )
    for label, which in (("oracle, whole front", 0), ("oracle, 99 %", 1)):
        each = [means[p][which] for p in known]
        total = 1.0
        for value in each:
            total *= value ** (1 / len(each))
        rows.append([label, f"{total:.0f}", *(f"{v:.0f}" for v in each), "", ""])
    print(table(["search", "s to 99 %", *known, "not reached", "median share at the end"], rows))
    peers = {name: one.s for name, one in scores.items() if name != ours}
    mine = scores.get(ours)
    best = min(peers, key=lambda name: peers[name]) if peers else None
    # A lower bound of a peer makes the ratio an upper bound. One of ours would make it worthless.
    known_ratio = mine is not None and best is not None and not mine.bound
    return {
        "ours": ours,
        "ours_s": None if mine is None else mine.s,
        "peers": peers,
        "lower_bounds": sorted(name for name, one in scores.items() if one.bound),
        "best_peer": best,
        "ratio": mine.s / peers[best] if mine and best and known_ratio else None,
        "problems": {name: dict(one.problems) for name, one in scores.items()},
        "not_reached": {name: [one.censored, one.runs] for name, one in scores.items()},
        "oracle_s": {name: found[0] for name, found in means.items()},
        "oracle_99_s": {name: found[1] for name, found in means.items()},
    }


def main() -> None:
    """Run the searches; print the tables; write the JSON and the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", nargs="+", default=["cells"], help="own, cells or PATH")
    parser.add_argument("--cells", type=Path, default=CELLS, help="the recorded cells")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="+", default=[], help="names of searches")
    parser.add_argument("--problems", nargs="+", default=[], help="ends of names, such as two")
    parser.add_argument("--afresh", nargs="+", default=[], help="names of searches to do again")
    parser.add_argument("--ours", help="the search that is compared with the others")
    parser.add_argument("--syne-python", help="a Python with syne-tune 0.16 and botorch")
    parser.add_argument("--keep", action="store_true", help="write all runs to benchmarks/data")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    told: dict[str, Any] = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    python = given.syne_python if available(given.syne_python) else None
    ours = given.ours or told["ours"]
    runs = Runs(OUT / "search_power_runs.jsonl", given.afresh, KEPT)
    figures: dict[str, Any] = {}
    for name in given.table:
        problems = problems_of(name, given.cells, told, given.seeds)
        todo = list(tasks(told, problems, given.only, python))
        if given.problems:
            todo = [t for t in todo if t.problem.name.rpartition(" ")[2] in given.problems]
        run_all(todo, runs, given.workers)
        label = Path(name).name.partition(".")[0]
        figures[label] = compare(todo, runs, ours)
        absent = [n for n, each in told["searches"].items() if not runs_here(each, python)]
        figures[label]["not_run"] = absent
        if absent:
            print(f"not run: {', '.join(absent)} (--syne-python names a Python with syne-tune)")
        print(draw(label, todo, runs, OUT))
    if given.keep:
        runs.keep(KEPT)
    print(save("search_power", {"seeds": given.seeds, "tables": figures, **figures}))


if __name__ == "__main__":
    main()
