"""What the engine itself costs: candidates whose pass does nothing, each isolated and durable.

    python benchmarks/engine_overhead.py [--candidates 1000]

Every candidate has four jobs (build, smoke, a rough and a full measurement), each in a child
process of its own; its outcome is on disk before the next one starts. results.json and study.db are
kept as ever: every few seconds, so that they are part of the mean and not of the median. Twice:
with the run-times imported in the fork server, as in a search of language models (a child is then a
copy of 400 MB), and without.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "plugins"), str(ROOT / "benchmarks")]

from common import save, table  # noqa: E402
from fake_study import write_fake_study  # noqa: E402

from paretune.api import PreparedSearch, Search  # noqa: E402
from paretune.config import load  # noqa: E402
from paretune.core.packages import RUNTIMES  # noqa: E402
from paretune.core.result import OutcomeKind  # noqa: E402
from paretune.display.live import make_display  # noqa: E402
from paretune.store.artifacts import Store  # noqa: E402
from paretune.study.folder import Study  # noqa: E402
from paretune.targets.launchers.local import LocalTarget  # noqa: E402


def measure(candidates: int, folder: Path, *, preload: bool = True) -> dict[str, float]:
    """Search a space of fakes; returns milliseconds per candidate and what became of them."""
    from fake_study import FakeSmokeWorkbench

    config = write_fake_study(folder, {"x": {"low": 1, "high": candidates - 1}})
    store = Store(folder / "store")
    target = LocalTarget(store.root)
    target.preload(RUNTIMES if preload else ())
    prepared = PreparedSearch(load(config), store, target)
    try:
        study = Study(folder / "study")
        search = Search(
            prepared, study, make_display(quiet=True), job_factory=FakeSmokeWorkbench.of(prepared)
        )
        stamps: list[float] = [time.perf_counter()]
        after = search.engine.on_outcome

        def stamped(outcome: object, summary: object) -> None:
            after(outcome, summary)  # type: ignore[arg-type]
            stamps.append(time.perf_counter())

        search.engine.on_outcome = stamped
        search.engine.run()
        search.finish("finished")
    finally:
        prepared.target.close()
    each = [1e3 * (b - a) for a, b in pairwise(stamps[1:])]
    some = min(100, max(1, len(each) // 2))
    return {
        "outcomes": len(study.outcomes),
        "ok": sum(o.kind is OutcomeKind.OK for o in study.outcomes),
        "first_ms": 1e3 * (stamps[1] - stamps[0]),
        "median_ms": statistics.median(each),
        "mean_ms": statistics.fmean(each),
        "first_100_ms": statistics.median(each[:some]),
        "last_100_ms": statistics.median(each[-some:]),
    }


def help_seconds(runs: int = 15) -> list[float]:
    """Return the wall seconds of ``paretune --help``, several times, after one warm-up."""
    command = [str(Path(sys.executable).with_name("paretune")), "--help"]
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1000)
    count = parser.parse_args().candidates
    found = []
    for preload in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(count, Path(folder), preload=preload))
    helped = help_seconds()
    rows = [(name, value, found[1][name]) for name, value in found[0].items()]
    print(table(("figure", "run-times preloaded", "nothing preloaded"), rows))
    print(f"paretune --help: {statistics.median(helped):.3f} s, median of {len(helped)}")
    told = {"preloaded": found[0], "bare": found[1], "help_s": helped}
    goals = {name: found[0][name] for name in ("median_ms", "first_100_ms", "last_100_ms")}
    print(save("engine_overhead", {**goals, **told}))


if __name__ == "__main__":
    main()
