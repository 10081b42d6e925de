"""How often `paretune compare` is wrong: python benchmarks/verdicts.py [--live 40] [--rounds 60].

On packages of SmolLM2 that are built first (or found in ``--packages DIR``):

- **A/B**: every package is measured in turns for many rounds; pairs whose long-run ratio is 3.5 to
  8 % are compared again and again over stretches of that record. Beside it, the same pairs as the
  peer times them: each model alone, ten runs to warm up and twenty that count in one process, the
  smaller mean wins.
- **A/A live**: a package against itself, half of the times beside a process that keeps one core
  busy. Any "faster" or "slower" is a mistake.
- **A/A replayed**: 1,000 more comparisons over the rounds that the live ones recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from common import ROOT, save, table

from paretune.comparing.runner import ComparedModels, PairwiseComparison, medians
from paretune.comparing.subjects import open_entrants
from paretune.comparing.workloads import Workload
from paretune.core.packages import RUNTIMES
from paretune.data.catalog import DataCatalog
from paretune.models.handle import open_model
from paretune.stats.pooling import log_ratio
from paretune.targets.launchers.local import LocalTarget

_METRIC = "decode_ms_p50"
_MAX_ROUNDS = 60
_LIVE_ROUNDS = 16
_PEER_WARM_UP, _PEER_RUNS = 10, 20
_LOAD = "while True: sum(i * i for i in range(10000))"
# Speeds that lie near each other, from options that one would really choose between.
_BUILDS = {
    "int4": {"precision": "int4"},
    "int4-64": {"precision": "int4", "block_size": 64},
    "int4-128": {"precision": "int4", "block_size": 128},
    "int4-256": {"precision": "int4", "block_size": 256},
    "int4-mixed": {"precision": "int4", "algorithm": "k_quant_mixed"},
    "int8": {"precision": "int8"},
    "int8-64": {"precision": "int8", "is_symmetric": False, "block_size": 64},
    "int8-128": {"precision": "int8", "is_symmetric": False, "block_size": 128},
}
_SETS = {
    1: ("int4", "int4-64", "int4-128", "int4-256"),
    2: ("int4-64", "int4-128", "int4-256", "int8", "int8-64"),
}
"""By threads: who is measured in turns for the A/B comparisons."""

_PEER = """
import json, statistics, sys, time
import onnxruntime_genai as og
folder, threads, warm, runs = json.loads(sys.argv[1])
config = og.Config(folder)
config.overlay(json.dumps({"model": {"decoder": {"session_options": {
    "intra_op_num_threads": threads, "inter_op_num_threads": 1}}}}))
model, prompt, taken = og.Model(config), [(i * 7919) % 40000 + 100 for i in range(64)], []
for run in range(warm + runs):
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=96, min_length=96, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(prompt)
    generator.generate_next_token()
    start = time.perf_counter()
    for _ in range(31):
        generator.generate_next_token()
    taken.append((time.perf_counter() - start) / 31 * 1e3)
print(statistics.fmean(taken[warm:]))
"""

Round = dict[str, dict[str, Any]]
"""Label to ``{"turns": medians of the turns, "value": the process's median, "seconds"}``."""


def build(folder: Path, names: Iterable[str] = tuple(_BUILDS)) -> dict[str, str]:
    """Build the packages that are not there yet; returns their folders by name."""
    from paretune.data.context import Context
    from paretune.passes.genai.genai import Genai

    for name in names:
        if (folder / name / "genai_config.json").is_file():
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        pass_ = Genai()
        with tempfile.TemporaryDirectory() as scratch:
            context = Context(folder / name, Path(scratch), DataCatalog({}, Path.cwd()))
            params = pass_.Params(**_BUILDS[name])
            pass_.run(open_model(ROOT / ".models" / "smollm2"), params, context)
        print("built", name, flush=True)
    return {name: str(folder / name) for name in names}


def one_round(arena: ComparedModels, order: random.Random) -> Round:
    """Measure each entrant once."""
    start = time.perf_counter()
    measured = arena.round(order)
    spent = (time.perf_counter() - start) / len(measured)
    found: Round = {}
    for label, block in measured.items():
        value = next(m.value for m in block if m.metric == _METRIC)
        found[label] = {"turns": medians(block)[_METRIC], "value": value, "seconds": spent}
    return found


def contest_of(rounds: Iterable[Round], a: str, b: str, most: int = _MAX_ROUNDS) -> tuple[str, int]:
    """Return a comparison's verdict over rounds, and how many it took."""
    contest = PairwiseComparison((a, b), metrics=(_METRIC,))
    for blocks in rounds:
        contest.add({label: {_METRIC: blocks[label]["turns"]} for label in (a, b)})
        if contest.decided or contest.rounds >= most:
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
    subjects = open_entrants([path, path], target.info(), threads=2)
    a, b = (e.label for e in subjects)
    for number in range(times):
        loaded = number % 2 == 1
        rounds: list[Round] = []
        with competing(loaded), ComparedModels(subjects, target, Workload()) as arena:
            order, start = random.Random(number), time.perf_counter()

            def measured(
                arena: ComparedModels = arena,
                order: random.Random = order,
                rounds: list[Round] = rounds,
            ) -> Iterator[Round]:
                while True:
                    rounds.append(one_round(arena, order))
                    yield rounds[-1]

            verdict, took = contest_of(measured(), a, b, _LIVE_ROUNDS)
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


def record(paths: dict[str, str], rounds: int, target: LocalTarget) -> dict[int, list[Round]]:
    """Measure the packages of each set in turns; by threads."""
    found: dict[int, list[Round]] = {threads: [] for threads in _SETS}
    for threads, names in _SETS.items():
        subjects = open_entrants([paths[n] for n in names], target.info(), threads=threads)
        with ComparedModels(subjects, target, Workload()) as arena:
            order = random.Random(7)
            for _ in range(rounds):
                found[threads].append(one_round(arena, order))
    return found


def pairs_apart(rounds: list[Round], low: float, high: float) -> list[tuple[str, str, float]]:
    """Return (faster, slower, ratio) of the pairs whose long-run ratio lies in a band."""
    found = []
    for a, b in combinations(sorted(rounds[0]), 2):
        ratio = math.exp(statistics.median(log_ratio(r[a]["turns"], r[b]["turns"]) for r in rounds))
        fast, slow = (a, b) if ratio < 1 else (b, a)
        if low <= max(ratio, 1 / ratio) <= high:
            found.append((fast, slow, max(ratio, 1 / ratio)))
    return found


def as_the_peer(path: str, threads: int) -> tuple[float, float]:
    """Return the mean milliseconds a token of twenty runs in one process, and the seconds spent."""
    start = time.perf_counter()
    given = json.dumps([path, threads, _PEER_WARM_UP, _PEER_RUNS])
    ran = subprocess.run(
        [sys.executable, "-c", _PEER, given], capture_output=True, text=True, check=True
    )
    return float(ran.stdout.splitlines()[-1]), time.perf_counter() - start


def peers(
    paths: dict[str, str], pairs: dict[int, list[tuple[str, str, float]]], times: int
) -> dict[str, dict[str, list[float]]]:
    """Time both of each pair as the peer does, one right after the other, again and again."""
    draw, found = random.Random(9), dict[str, dict[str, list[float]]]()
    for _ in range(times):
        for threads, some in pairs.items():
            for fast, slow, _ratio in some:
                row = found.setdefault(f"{fast} {slow} {threads}", {"differ": [], "seconds": []})
                taken = {
                    name: as_the_peer(paths[name], threads) for name in draw.sample([fast, slow], 2)
                }
                row["differ"].append(taken[slow][0] / taken[fast][0] - 1)
                row["seconds"].append(taken[slow][1] + taken[fast][1])
    return found


def replayed_ab(
    record: dict[int, list[Round]],
    pairs: dict[int, list[tuple[str, str, float]]],
    peer: dict[str, dict[str, list[float]]],
    times: int,
) -> list[list[Any]]:
    """Compare pairs that truly differ over stretches of the record, and as the peer did."""
    draw, rows = random.Random(3), []
    for threads, some in pairs.items():
        rounds = record[threads]
        for fast, slow, ratio in some:
            verdicts, took, seconds = Counter[str](), [], []
            for _ in range(times):
                start = draw.randrange(len(rounds))
                stretch = [rounds[(start + i) % len(rounds)] for i in range(len(rounds))]
                verdict, n = contest_of(stretch, fast, slow)
                verdicts[verdict] += 1
                took.append(n)
                seconds.append(sum(r[m]["seconds"] for r in stretch[:n] for m in (fast, slow)))
            differ = peer[f"{fast} {slow} {threads}"]
            wrong = sum(value <= 0 for value in differ["differ"]) / len(differ["differ"])
            rows.append(
                [
                    fast,
                    slow,
                    threads,
                    ratio,
                    *(verdicts[v] / times for v in ("faster", "slower", "same", "undecided")),
                    statistics.median(took),
                    statistics.median(seconds),
                    wrong,
                    statistics.median(differ["seconds"]),
                ]
            )
    return rows


def main() -> None:
    """Run all parts; print the tables; write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="where packages are, or are built")
    parser.add_argument("--live", type=int, default=40, help="live A/A comparisons")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the A/B record")
    parser.add_argument("--peer", type=int, default=10, help="times the peer's way is run a pair")
    given = parser.parse_args()
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary, LocalTarget() as target:
        target.preload(RUNTIMES)
        paths = build(given.packages or Path(temporary))
        rounds = record(paths, given.rounds, target)
        shown = [[t, *p] for t, some in rounds.items() for p in pairs_apart(some, 1.0, 9.0)]
        pairs = {t: pairs_apart(some, 1.035, 1.08) for t, some in rounds.items()}
        told |= {"record": rounds, "long_run": shown}
        print(table(("threads", "faster", "slower", "long-run ratio"), shown), "\n", flush=True)
        save("verdicts", told)
        peer = told["peer"] = peers(paths, pairs, given.peer)
        ab = told["ab"] = replayed_ab(rounds, pairs, peer, 200)
        print(
            table(
                (
                    "faster",
                    "slower",
                    "threads",
                    "ratio",
                    "right",
                    "wrong",
                    "same",
                    "undecided",
                    "rounds",
                    "seconds",
                    "peer wrong",
                    "peer seconds",
                ),
                ab,
            ),
            "\n",
            flush=True,
        )
        save("verdicts", told)
        rows, recorded = live(paths["int4"], given.live, target)
    counts = {"live": Counter(row[2] for row in rows), "replayed": replayed_aa(recorded, 1000)}
    kinds = ("faster", "slower", "same", "undecided")
    shown = [[name, *(count[kind] for kind in kinds)] for name, count in counts.items()]
    print(table(("A/A", *kinds), shown))
    told |= {
        "live": rows,
        **{f"aa_{name}": count for name, count in counts.items()},
        "live_record": {str(k): v for k, v in recorded.items()},
    }
    print(save("verdicts", told))


if __name__ == "__main__":
    main()
