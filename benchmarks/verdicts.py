"""How often `paretune compare` is wrong: python benchmarks/verdicts.py [--live 40] [--rounds 80].

Three parts, on packages of SmolLM2 that are built first (or found in ``--packages DIR``):

- **A/A live**: a package against itself, half of the times beside a process that keeps one core
  busy. Any "faster" or "slower" is a mistake.
- **A/A replayed**: 1,000 more comparisons over the rounds that the live ones recorded.
- **A/B replayed**: every package is measured in turns for many rounds; pairs whose long-run ratio
  is 4 to 8 % are compared again and again over stretches of that record. Beside it, what a fixed
  20 runs in one process a model (the peer's way) would have said of the same pairs.

Also the coverage of the intervals that three processes give, against the long run's median.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from common import ROOT, save, table

from paretune.comparing import Arena, Contest, Workload, medians, shuffled
from paretune.data import DataCatalog
from paretune.entrants import Entrant, open_entrants
from paretune.evaluators.pooling import interval
from paretune.measurement import Measurement
from paretune.models import open_model
from paretune.store import default_store
from paretune.targets.local import LocalTarget
from paretune.targets.profile import DeviceProfile

_METRIC = "decode_ms_p50"
_MOST_ROUNDS = 60
_PEER_RUNS = 20
_LOAD = "while True: sum(i * i for i in range(10000))"
# Speeds that lie near each other, from options that one would really choose between.
_BUILDS = {
    "int4": {"precision": "int4"},
    "int4-64": {"precision": "int4", "block_size": 64},
    "int4-128": {"precision": "int4", "block_size": 128},
    "int4-mixed": {"precision": "int4", "algorithm": "k_quant_mixed"},
    "int8": {"precision": "int8"},
    "int8-128": {"precision": "int8", "is_symmetric": False, "block_size": 128},
}

Round = dict[str, dict[str, Any]]
"""Label to ``{"decode_ms_p50", "first"}``: the process's median, and its first samples' mean."""


def build(folder: Path) -> list[str]:
    """Build the packages that are not there yet."""
    from paretune.passes.base import Context
    from paretune.passes.genai import Genai

    for name, params in _BUILDS.items():
        if (folder / name / "genai_config.json").is_file():
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        pass_ = Genai()
        with tempfile.TemporaryDirectory() as scratch:
            context = Context(folder / name, Path(scratch), DataCatalog({}, Path.cwd()))
            pass_.run(open_model(ROOT / ".models" / "smollm2"), pass_.Params(**params), context)
        print("built", name, flush=True)
    return [str(folder / name) for name in _BUILDS]


def one_round(arena: Arena, entrants: Sequence[Entrant], order: random.Random) -> Round:
    """Measure each entrant once."""
    found: Round = {}
    for entrant in shuffled(entrants, order):
        start = time.perf_counter()
        measured = arena.block(entrant)
        spent = time.perf_counter() - start
        samples = _samples(measured)[:_PEER_RUNS]
        first = statistics.fmean(samples) if samples else math.nan
        found[entrant.label] = {**medians(measured), "first": first, "seconds": spent}
    return found


def _samples(measured: Sequence[Measurement]) -> tuple[float, ...]:
    return next(m.samples for m in measured if m.metric == _METRIC)


def contest_of(rounds: Iterator[Round], a: str, b: str) -> tuple[str, int]:
    """Return a comparison's verdict over rounds, and how many it took."""
    contest = Contest((a, b), metrics=(_METRIC,))
    for blocks in rounds:
        contest.add({label: {_METRIC: blocks[label][_METRIC]} for label in (a, b)})
        if contest.decided or contest.rounds >= _MOST_ROUNDS:
            break
    return contest.verdict(a, b, _METRIC).value, contest.rounds


@contextmanager
def competing(on: bool) -> Iterator[None]:
    """Keep one core busy beside what is measured."""
    process = subprocess.Popen([sys.executable, "-c", _LOAD]) if on else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def live(path: str, times: int, target: LocalTarget) -> tuple[list[list[Any]], dict[bool, Any]]:
    """Compare a package with itself; returns a row a comparison, and every round by load."""
    rows, recorded = list[list[Any]](), dict[bool, list[list[Round]]]({False: [], True: []})
    for number in range(times):
        loaded = number % 2 == 1
        entrants = open_entrants([path, path], target.info(), threads=2)
        a, b = (e.label for e in entrants)
        rounds: list[Round] = []
        with competing(loaded), Arena(entrants, target, Workload(block_s=0.4)) as arena:
            order, start = random.Random(number), time.perf_counter()

            def measured(
                arena: Arena = arena, entrants: Sequence[Entrant] = entrants,
                order: random.Random = order, rounds: list[Round] = rounds,
            ) -> Iterator[Round]:  # fmt: skip
                while True:
                    rounds.append(one_round(arena, entrants, order))
                    yield rounds[-1]

            verdict, took = contest_of(measured(), a, b)
            seconds = time.perf_counter() - start
        recorded[loaded].append(rounds)
        rows.append([number, "loaded" if loaded else "calm", verdict, took, seconds])
        print(*rows[-1], flush=True)
    return rows, recorded


def replayed_aa(recorded: dict[bool, Any], times: int) -> Counter[str]:
    """Compare again over recorded rounds: stretches from a random start, sides drawn anew.

    Both are the same model, so that which of them a round's first block belongs to is a coin's
    choice; what the machine did in that minute stays as it was.
    """
    draw, found = random.Random(1), Counter[str]()
    for number in range(times):
        rounds = [r for comparison in recorded[number % 2 == 1] for r in comparison]
        a, b = sorted(rounds[0])
        start = draw.randrange(len(rounds))

        def drawn(rounds: list[Round] = rounds, start: int = start, a: str = a, b: str = b) -> Any:
            for i in range(len(rounds)):
                blocks = rounds[(start + i) % len(rounds)]
                yield blocks if draw.random() < 0.5 else {a: blocks[b], b: blocks[a]}

        found[contest_of(drawn(), a, b)[0]] += 1
    return found


def record(paths: Sequence[str], rounds: int, target: LocalTarget) -> list[Round]:
    """Measure every package in turns."""
    entrants = open_entrants(paths, target.info(), threads=2)
    found, order = list[Round](), random.Random(7)
    with Arena(entrants, target, Workload(block_s=0.4)) as arena:
        for _ in range(rounds):
            found.append(one_round(arena, entrants, order))
    return found


def pairs_apart(rounds: list[Round], low: float, high: float) -> list[tuple[str, str, float]]:
    """Return (faster, slower, ratio) of the pairs whose long-run ratio lies in a band."""
    found = []
    for a, b in combinations(sorted(rounds[0]), 2):
        logs = [math.log(r[a][_METRIC] / r[b][_METRIC]) for r in rounds]
        ratio = math.exp(statistics.median(logs))
        fast, slow = (a, b) if ratio < 1 else (b, a)
        if low <= max(ratio, 1 / ratio) <= high:
            found.append((fast, slow, max(ratio, 1 / ratio)))
    return found


def replayed_ab(
    rounds: list[Round], pairs: Sequence[tuple[str, str, float]], times: int
) -> list[list[Any]]:
    """Compare pairs that truly differ over stretches of the record, and as the peer does."""
    draw, rows = random.Random(3), []
    for fast, slow, ratio in pairs:
        verdicts, took, seconds, peer_wrong = Counter[str](), [], [], 0
        for _ in range(times):
            start = draw.randrange(len(rounds))
            stretch = [rounds[(start + i) % len(rounds)] for i in range(len(rounds))]
            verdict, n = contest_of(iter(stretch), fast, slow)
            verdicts[verdict] += 1
            took.append(n)
            seconds.append(sum(r[m]["seconds"] for r in stretch[:n] for m in (fast, slow)))
            one, other = draw.choice(rounds), draw.choice(rounds)
            peer_wrong += one[fast]["first"] >= other[slow]["first"]
        rows.append([fast, slow, ratio, verdicts["faster"] / times, verdicts["slower"] / times,
                     verdicts["same"] / times, verdicts["undecided"] / times,
                     statistics.median(took), statistics.median(seconds),
                     peer_wrong / times])  # fmt: skip
    return rows


def coverage(rounds: list[Round], floor: float | None, times: int) -> float:
    """Return how often three processes' interval contains the median of all the others."""
    draw, inside = random.Random(5), 0
    labels = sorted(rounds[0])
    for number in range(times):
        label = labels[number % len(labels)]
        start = draw.randrange(len(rounds) - 2)
        chosen = range(start, start + 3)
        low, high = interval([rounds[i][label][_METRIC] for i in chosen], floor)
        rest = [r[label][_METRIC] for i, r in enumerate(rounds) if i not in chosen]
        assert low is not None
        assert high is not None
        inside += low <= statistics.median(rest) <= high
    return inside / times


def main() -> None:
    """Run all parts; print the tables; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="where packages are, or are built")
    parser.add_argument("--live", type=int, default=40, help="live A/A comparisons")
    parser.add_argument("--rounds", type=int, default=80, help="rounds of the A/B record")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, LocalTarget() as target:
        paths = build(given.packages or Path(temporary))
        profile = DeviceProfile.load(default_store(), target.info().fingerprint)
        floor = None if profile is None else profile.noise_floor
        rounds = record(paths, given.rounds, target)
        rows, recorded = live(paths[0], given.live, target)
    pairs = pairs_apart(rounds, 1.04, 1.08)
    shown = [p for p in pairs_apart(rounds, 1.0, 99.0)]
    aa = Counter(row[2] for row in rows)
    again = replayed_aa(recorded, 1000)
    ab = replayed_ab(rounds, pairs, 200)
    print(table(("faster", "slower", "long-run ratio"), shown), "\n")
    print(table(("A/A", *("faster", "slower", "same", "undecided")),
                [[name, *(count[v] for v in ("faster", "slower", "same", "undecided"))]
                 for name, count in (("live", aa), ("replayed", again))]), "\n")  # fmt: skip
    print(table(("faster", "slower", "ratio", "right", "wrong", "same", "undecided", "rounds",
                 "seconds", "peer wrong"), ab), "\n")  # fmt: skip
    inside = coverage(rounds, floor, 100)
    print(f"coverage of 95 % intervals: {inside:.2f} (noise floor {floor})")
    print(save("verdicts", {
        "live": rows, "live_counts": aa, "replayed": again, "pairs": shown, "ab": ab,
        "coverage": inside, "noise_floor": floor, "record": rounds,
        "live_record": {str(k): v for k, v in recorded.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
