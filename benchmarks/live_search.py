"""A real search against trying everything: python benchmarks/live_search.py [--minutes 40].

Searches ``examples/tone.yaml`` with ``strategy: exhaustive`` and no time limit, and then three
times with ``strategy: chains``, each time with another seed, in at most half of that time. Each run
has a study and a store of its own, so that none uses what another one built. The exhaustive run
comes first, because it sets the time of the others; with ``--exhaustive 2`` a second one comes
after the first of the others.

What a run picked is judged by the measurements of the exhaustive study alone: by the probability
that this candidate is the best feasible one (`paretune.search.confirm.confidence`, which is what
the report states of a pick). Candidates for which it is at least 5 % form the group that the pick
rule cannot tell apart.

A run that is complete is not done again, and one that was ended goes on: ``--afresh`` begins anew.
``--minutes`` is for all runs together: what the exhaustive ones leave of it is divided among the
others, if that is less than half for each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from common import OUT, ROOT, save, table

from paretune.core.candidate import describe
from paretune.core.jsontools import write_json
from paretune.core.result import TrialResult
from paretune.reporting.opened import open_study
from paretune.search.confirm.confidence import confidence
from paretune.search.constraints import parse_constraint
from paretune.search.progress import ended
from paretune.search.summary import summarize
from paretune.study.results import Results

_IN_GROUP = 0.05
"""Probability of being the pick from which on a candidate is in the group."""
_LEAST_S = 20.0
_FINALS = "finals"


class Run:
    """One search, in a folder of its own.

    Args:
        folder: Of the configuration, the study, the store and what was noted.
        strategy: Name of the strategy.
        seed: Of the search.
    """

    def __init__(self, folder: Path, strategy: str, seed: int) -> None:
        self.name = f"{strategy}-{seed}"
        self.folder = folder / self.name
        self.strategy, self.seed = strategy, seed
        self.study = self.folder / "study"
        self._noted = self.folder / "run.json"

    @property
    def noted(self) -> dict[str, Any]:
        """What earlier calls have noted: the limit, the calls, the wall seconds once it ended."""
        if not self._noted.is_file():
            return {}
        found: dict[str, Any] = json.loads(self._noted.read_text(encoding="utf-8"))
        return found

    def run(self, config: Path, time_s: float | None) -> None:
        """Search, or go on with it, unless it is complete.

        Args:
            config: Whose model, data and space it takes.
            time_s: Seconds of the search; None: no limit. A run that goes on keeps its first one.

        Raises:
            SystemExit: The command failed; says where its output is.
        """
        noted = self.noted
        if noted.get("status") is not None:
            print(f"{self.name}: known", flush=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        limit = noted.get("time_s", time_s)
        noted = {"time_s": limit, "calls": noted.get("calls", 0) + 1}
        write_json(self._noted, noted)
        file = self.folder / "config.yaml"
        told = copied(config, self.strategy, self.seed, limit)
        file.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        places = ["--study", str(self.study), "--store", str(self.folder / "store")]
        command = [sys.executable, "-m", "paretune", "search", str(file), *places]
        shown = "no time limit" if limit is None else f"at most {limit:.0f} s"
        print(f"{self.name}: {shown}, call {noted['calls']}", flush=True)
        start, output = time.monotonic(), self.folder / "output.txt"
        with open(output, "ab") as written:
            status = subprocess.run(
                command, stdout=written, stderr=subprocess.STDOUT, check=False
            ).returncode
        if status not in (0, 3):
            raise SystemExit(f"{self.name} ended with status {status}: see {output}")
        # What a call took that was killed is not known.
        wall = time.monotonic() - start if noted["calls"] == 1 else None
        write_json(self._noted, {**noted, "status": status, "wall_s": wall})

    def opened(self) -> tuple[Results, list[TrialResult]]:
        """Return what the study holds."""
        return open_study(self.study)

    def spent_s(self) -> float:
        """Return the seconds of searching, the re-measurement of the finalists included."""
        results, outcomes = self.opened()
        points = [point.at_s for point in results.progress]
        return max((*points, *(at for at, _ in ended(outcomes))), default=0.0)


def copied(config: Path, strategy: str, seed: int, time_s: float | None) -> dict[str, Any]:
    """Return a configuration with other search settings, and paths that hold from anywhere."""
    told: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    told["model"] = str((config.parent / told["model"]).resolve())
    for data in told.get("data", {}).values():
        if "file" in data:
            data["file"] = str((config.parent / data["file"]).resolve())
    search = {**told.get("search", {}), "strategy": strategy, "seed": seed}
    search.pop("time", None)
    told["search"] = search if time_s is None else {**search, "time": round(time_s, 1)}
    return told


class Reference:
    """What the exhaustive study says of any candidate.

    Args:
        run: The exhaustive run.
    """

    def __init__(self, run: Run) -> None:
        results, self._outcomes = run.opened()
        self.objectives = [entry.objective for entry in results.objectives]
        limits = [parse_constraint(entry.text) for entry in results.constraints]
        base = None if results.baseline is None else results.baseline.id
        self._base = next((o for o in self._outcomes if o.id == base), None)
        self._prefer = results.prefer
        self._summary = summarize(
            self._outcomes, self.objectives, limits, self._base, results.prefer
        )
        self.pick = next((o for o in self._outcomes if o.id == self._summary.best), None)
        probabilities = {id: self.probability(id) for id in self._summary.feasible}
        self.group = sorted(
            id
            for id, value in probabilities.items()
            if id == self._summary.best or (value is not None and value >= _IN_GROUP)
        )

    def find(self, outcome: TrialResult | None) -> TrialResult | None:
        """Return the outcome of the same candidate here."""
        if outcome is None:
            return None
        digest = outcome.candidate.digest
        return next((o for o in self._outcomes if o.candidate.digest == digest), None)

    def probability(self, id: int) -> float | None:
        """Return how probable it is that a candidate is the best feasible one."""
        if id not in self._summary.feasible:
            return 0.0
        found = confidence(
            self._outcomes,
            replace(self._summary, best=id),
            self.objectives,
            self._base,
            self._prefer,
            find_examples=False,
        )
        return None if found is None else found.best

    def shown(self, outcome: TrialResult | None) -> str:
        """Return the values of the objectives."""
        if outcome is None:
            return "not measured"
        values = (outcome.value(objective.metric) for objective in self.objectives)
        return " / ".join("-" if value is None else f"{value:.4g}" for value in values)


def judged(run: Run, reference: Reference) -> dict[str, Any]:
    """Return what a run took and picked, and what the exhaustive study says of it."""
    results, outcomes = run.opened()
    pick = next((o for o in outcomes if o.id == results.best), None)
    there = reference.find(pick)
    base = None if results.baseline is None else results.baseline.id
    finalists = [o.id for o in outcomes if any(step.step == _FINALS for step in o.seconds)]
    spent = run.spent_s()
    best_at = [point.at_s for point in results.progress if point.best == results.best]
    mine = None if reference.pick is None else reference.pick.id
    return {
        "run": run.name,
        "limit_s": run.noted.get("time_s"),
        "spent_s": spent,
        "wall_s": run.noted.get("wall_s"),
        "calls": run.noted.get("calls"),
        "ended_by": None if results.ended is None else results.ended.by,
        "candidates": sum(o.ran_job for o in outcomes),
        "trainings": trainings(outcomes),
        "pick": None if pick is None else describe(pick.candidate),
        "pick_values": reference.shown(pick),
        "first_picked_s": min(best_at, default=None),
        "pick_by_exhaustive": reference.shown(there),
        "probability_by_exhaustive": None if there is None else reference.probability(there.id),
        "same_pick": there is not None and there.id == mine,
        "same_group": there is not None and there.id in reference.group,
        "remeasured": finalists,
        "baseline_measured": base is not None,
        "baseline_remeasured": base in finalists,
    }


def trainings(outcomes: Sequence[TrialResult]) -> int:
    """Return how many trainings were run, not taken from the store."""
    names = {"lora", "qlora"}
    return sum(step.step in names and not step.cached for o in outcomes for step in o.seconds)


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table."""
    whole = statistics.median(r["spent_s"] for r in rows if r["run"].startswith("exhaustive"))
    heads = ("run", "s", "of exhaustive", "ended by", "candidates", "trainings", "pick")
    heads += ("by the exhaustive study", "P(best) there", "same", "finalists measured again")
    return table(
        heads,
        [
            [
                r["run"],
                round(r["spent_s"]),
                f"{r['spent_s'] / whole:.0%}",
                r["ended_by"],
                r["candidates"],
                r["trainings"],
                r["pick"],
                r["pick_by_exhaustive"],
                r["probability_by_exhaustive"],
                "pick" if r["same_pick"] else "group" if r["same_group"] else "no",
                f"{r['remeasured']}{' with' if r['baseline_remeasured'] else ', without'} baseline",
            ]
            for r in rows
        ],
    )


def order(folder: Path, exhaustive: int, seeds: Sequence[int]) -> list[Run]:
    """Return the runs: an exhaustive one first, and the others in turns."""
    whole = [Run(folder, "exhaustive", number) for number in range(exhaustive)]
    some = [Run(folder, "chains", seed) for seed in seeds]
    turns = max(len(whole), len(some))
    return [runs[n] for n in range(turns) for runs in (whole, some) if n < len(runs)]


def limit_of(known: Sequence[float], begun: float, minutes: float, others: int) -> float:
    """Return the seconds that a run may take.

    Args:
        known: Of each exhaustive run that has ended.
        begun: Seconds that all runs so far have taken.
        minutes: For all of them together.
        others: Runs that are still to come, this one included.
    """
    return max(_LEAST_S, min(min(known) / 2, (60 * minutes - begun) / others))


def main() -> None:
    """Run the searches; print the table; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "tone.yaml")
    parser.add_argument("--minutes", type=float, default=40.0, help="for all runs together")
    parser.add_argument("--exhaustive", type=int, default=1, help="how often")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run each")
    parser.add_argument("--folder", type=Path, default=OUT / "live_search")
    parser.add_argument("--afresh", action="store_true", help="remove what is there and begin anew")
    given = parser.parse_args()
    if given.afresh:
        shutil.rmtree(given.folder, ignore_errors=True)
    runs = order(given.folder, max(1, given.exhaustive), given.seeds)
    taken: dict[str, float] = {}
    for place, run in enumerate(runs):
        limit = None
        if run.strategy != "exhaustive":
            known = [s for name, s in taken.items() if name.startswith("exhaustive")]
            limit = limit_of(known, sum(taken.values()), given.minutes, len(runs) - place)
        run.run(given.config, limit)
        taken[run.name] = run.spent_s()
    reference = Reference(runs[0])
    rows = [judged(run, reference) for run in runs]
    print(f"\nthe group that cannot be told apart: {len(reference.group)} candidates")
    print(shown(rows))
    path = save(
        "live_search",
        {
            "config": given.config.name,
            "objectives": [objective.metric for objective in reference.objectives],
            "group": reference.group,
            "runs": rows,
        },
    )
    print(path)


if __name__ == "__main__":
    main()
