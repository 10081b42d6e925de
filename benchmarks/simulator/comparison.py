"""Which searches are compared on which problems; runs are stored as JSON lines, each done once."""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulator import optuna_peer, syne_peer
from simulator.problem import SHARE, Problem, narrowed
from simulator.searching import Curve, Simulation

from paretune.core.errors import UsageError
from paretune.core.jsontools import digest
from paretune.core.plugins import find

_FEWER = 4
"""Searches marked ``dear`` have one seed for so many of the others' (at least one)."""


@dataclass(frozen=True)
class Run:
    """One search of one problem.

    Attributes:
        table: Name of the table, that of the device included.
        problem: Name of the problem.
        search: Name of the search.
        seed: Its seed.
        key: Digest of everything that it depends on; another one makes it void.
        reached_s: Virtual seconds to 99 % of the hypervolume; None: it ended before.
        end_s: Virtual seconds at its end.
        asks: How many candidates or promotions it asked for.
        cpu_s: Processor seconds of the search itself, engine included.
        times: Virtual seconds of each change.
        volumes: Share of the exhaustive hypervolume from then on.
    """

    table: str
    problem: str
    search: str
    seed: int
    key: str
    reached_s: float | None
    end_s: float
    asks: int
    cpu_s: float
    times: Sequence[float]
    volumes: Sequence[float]

    @property
    def at_least_s(self) -> float:
        """Seconds to 99 %, or those at its end, a lower bound."""
        return self.end_s if self.reached_s is None else self.reached_s


class Runs:
    """The file of runs.

    Args:
        path: JSON lines; a line that was cut off is passed over.
        afresh: Names of searches whose earlier runs do not count.
        kept: The same, compressed: runs that came with the repository.
    """

    def __init__(self, path: Path, afresh: Collection[str] = (), kept: Path | None = None) -> None:
        self._path = path
        self._known: dict[tuple[str, str, str, int, str], Run] = {}
        if kept is not None and kept.is_file():
            self._read(gzip.decompress(kept.read_bytes()).decode(), afresh)
        if path.is_file():
            self._read(path.read_text(encoding="utf-8"), afresh)

    def _read(self, text: str, afresh: Collection[str]) -> None:
        for line in text.splitlines():
            try:
                run = Run(**json.loads(line))
            except (TypeError, ValueError):
                continue
            if run.search not in afresh:
                self._take(run)

    def every(self) -> list[Run]:
        """Return all runs, ordered by table, problem, search, seed and key."""
        return [self._known[key] for key in sorted(self._known)]

    def keep(self, path: Path) -> None:
        """Write all runs to a compressed file, in one order, so that its bytes tell of changes."""
        lines = [json.dumps(asdict(run)) for run in self.every()]
        path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))

    def _take(self, run: Run) -> None:
        self._known[run.table, run.problem, run.search, run.seed, run.key] = run

    def find(self, problem: Problem, search: str, seed: int, key: str) -> Run | None:
        """Return a run that was done before."""
        return self._known.get((problem.table.name, problem.name, search, seed, key))

    def add(self, run: Run) -> None:
        """Append a run to the file."""
        self._take(run)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            file.seek(0, 2)
            cut_off = file.tell() > 0 and file.seek(-1, 2) >= 0 and file.read(1) != b"\n"
            file.write(b"\n" * cut_off + json.dumps(asdict(run)).encode() + b"\n")


@dataclass(frozen=True)
class Task:
    """One run to do; of a sampler that does not know of costs it gives two curves.

    Attributes:
        problem: What is searched for.
        names: Names of the searches that it answers.
        settings: As in the yaml file.
        seed: The seed.
        asks: Most requests.
        python: Has Syne Tune; None: there is none.
    """

    problem: Problem
    names: tuple[str, ...]
    settings: Mapping[str, Any]
    seed: int
    asks: int
    python: str | None = None

    @property
    def table(self) -> str:
        """Name of the table, without the device."""
        return self.problem.table.name.partition("/")[0]

    @property
    def key(self) -> str:
        """Digest of what the run depends on, beside the code."""
        problem = self.problem
        told: dict[str, Any] = {
            "objectives": [o.to_json() for o in problem.objectives],
            "constraints": [limit.text for limit in problem.constraints],
            "reference": dict(problem.reference),
            "settings": dict(self.settings),
            "asks": self.asks,
        }
        return digest(told)[:19]

    def run(self) -> list[Run]:
        """Search; returns one run for each name."""
        settings = dict(self.settings)
        kind = settings.pop("kind")
        for name in ("dear", "names"):
            settings.pop(name, None)
        problem = narrowed(self.problem, settings.pop("fixed", {}).get(self.table, {}))
        if kind == "paretune":
            simulation = Simulation(problem, settings["strategy"], self.seed, self.asks)
            return [self._made(self.names[0], simulation.run())]
        if kind == "optuna":
            found = optuna_peer.search(problem, self.seed, asks=self.asks, **settings)
        else:
            assert self.python is not None
            found = syne_peer.search(
                problem, self.seed, python=self.python, asks=self.asks, **settings
            )
        curves = (found.shared, found.alone)
        return [self._made(name, each) for name, each in zip(self.names, curves, strict=False)]

    def _made(self, name: str, curve: Curve) -> Run:
        return Run(
            self.problem.table.name,
            self.problem.name,
            name,
            self.seed,
            self.key,
            curve.reached_s,
            curve.end_s,
            curve.asks,
            round(curve.cpu_s, 2),
            curve.times,
            curve.volumes,
        )


def runs_here(settings: Mapping[str, Any], python: str | None) -> bool:
    """Return whether a search can run: its strategy exists, or Syne Tune is there.

    Args:
        settings: Of the search.
        python: Has Syne Tune; None: there is none.
    """
    if settings["kind"] == "syne":
        return python is not None
    if settings["kind"] == "paretune":
        try:
            find("strategies", settings["strategy"])
        except UsageError:
            return False
    return True


def tasks(
    told: Mapping[str, Any],
    problems: Mapping[int, Sequence[Problem]],
    only: Sequence[str],
    python: str | None,
) -> Iterator[Task]:
    """Yield what is to be run.

    Args:
        told: The settings of all searches, by name.
        problems: By seed.
        only: Names of searches; empty: all of them.
        python: Has Syne Tune; None: its searches are left out.
    """
    for name, settings in told["searches"].items():
        names = tuple(settings.get("names", (name,)))
        if only and not set(names) & set(only):
            continue
        if not runs_here(settings, python):
            continue
        seeds = list(problems)
        if settings.get("dear"):
            seeds = seeds[: max(1, len(seeds) // _FEWER)]
        for seed in seeds:
            for problem in problems[seed]:
                yield Task(problem, names, settings, seed, told["asks"], python)


@dataclass(frozen=True)
class Score:
    """What a search takes on one table.

    Attributes:
        s: Geometric mean over the problems of the median over the seeds, in virtual seconds.
        problems: The median by problem.
        censored: How many runs ended before 99 %; they entered with their end, a lower bound.
        runs: How many there are.
        share: Median share of the hypervolume at the end.
    """

    s: float
    problems: Mapping[str, float]
    censored: int
    runs: int
    share: float

    @property
    def bound(self) -> bool:
        """Whether `s` is a lower bound: at least half of the runs of a problem are."""
        return 2 * self.censored >= self.runs


def score(runs: Sequence[Run]) -> Score:
    """Return the score of one search's runs."""
    by_problem: dict[str, list[Run]] = {}
    for run in runs:
        by_problem.setdefault(run.problem, []).append(run)
    medians = {
        name: statistics.median(run.at_least_s for run in found)
        for name, found in by_problem.items()
    }
    return Score(
        statistics.geometric_mean(medians.values()),
        medians,
        sum(run.reached_s is None for run in runs),
        len(runs),
        statistics.median(run.volumes[-1] if run.volumes else 0.0 for run in runs),
    )


def oracle(problem: Problem) -> tuple[float, float]:
    """Return the seconds of who knows the front: to build and measure all of it, and 99 % of it.

    For the latter it takes, each time, the candidate that adds most hypervolume per second.
    """
    from simulator.alone import Runner

    whole = Runner(problem, 0, len(problem.front) + 1)
    runner = Runner(problem, 0, len(problem.front) + 1)
    for candidate in problem.front:
        whole.run(candidate)
    left, taken = list(problem.front), list(problem.front[:0])
    while left and problem.volume(taken) < SHARE:
        now = problem.volume(taken)
        best = max(left, key=lambda c: (problem.volume([*taken, c]) - now) / runner.needed_s(c))
        left.remove(best)
        taken.append(best)
        runner.run(best)
    return whole.shared.end_s, runner.shared.end_s
