"""The demo's study from nothing: what ten minutes give on this machine.

    python benchmarks/tone.py

Runs ``examples/tone.yaml`` on SmolLM2 with an empty store and an empty study.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from common import ROOT, candidate_table, save

from paretune.api import optimize
from paretune.display import make_display


def main() -> None:
    """Search, and print every candidate."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = optimize(
            ROOT / "examples" / "tone.yaml",
            study=Path(folder) / "study",
            store=Path(folder) / "store",
            watcher=make_display(),
        )
        wall = time.perf_counter() - start
        results = dict(result.results)
    counts = Counter(row["outcome"] for row in results["candidates"])
    print(candidate_table(results))
    print(f"\n{wall:.0f} s; {dict(counts)}; pick: candidate {results['best']}")
    print(save("tone", {"wall_s": wall, "outcomes": dict(counts), "results": results}))


if __name__ == "__main__":
    main()
