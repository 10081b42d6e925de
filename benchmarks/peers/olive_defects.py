"""Shows the known defects of Microsoft Olive by running it, one function a defect.

    benchmarks/peers/olive.sh
    .peers/olive/bin/python benchmarks/peers/olive_defects.py [--only 1 5] [--out FILE]

Runs on Linux in Olive's own environment. Most workflows go through ``olive run`` with a pass and an
evaluator of ours (``olive_fakes.py``), registered as anyone's are, so that a candidate takes no
time and its figures are known. What does not show is reported as not shown.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

from olive_cache_defects import cache_keys, cached_failures
from olive_engine_defects import in_process, latency_figures, no_state, providers_and_failures
from olive_findings import Finding, Part, table
from olive_runs import HERE, QUIET
from olive_search_defects import (
    failed_candidate,
    max_iter,
    missing_metric,
    nan_on_the_front,
    threshold_goals,
)

OUT = HERE.parent / "out" / "olive_defects.json"
PACKAGES = (
    "olive-ai",
    "torch",
    "transformers",
    "onnxruntime",
    "onnxruntime-genai",
    "datasets",
    "peft",
    "optuna",
    "pydantic",
)
DEFECTS: dict[int, tuple[str, Callable[[], list[Part]]]] = {
    1: ("threshold goals are dropped", threshold_goals),
    2: ("NaN is on the Pareto frontier", nan_on_the_front),
    3: ("a failed candidate breaks or ends the search", failed_candidate),
    4: ("a missing metric ranks best", missing_metric),
    5: ("max_iter is one off", max_iter),
    6: ("candidates run in the engine's process, without a time limit", in_process),
    7: ("the search has no state on disk", no_state),
    8: ("failures are cached; writes are neither atomic nor locked; short ids", cached_failures),
    9: ("cache keys know no hardware and no versions", cache_keys),
    10: ("latency is 20 runs, without an interval", latency_figures),
    11: ("one provider; lm-eval is no objective; failures only warn", providers_and_failures),
}


def examine(number: int) -> Finding:
    """Run a defect's function, and tell what it found."""
    title, show = DEFECTS[number]
    print(f"{number}: {title} ...", file=sys.stderr, flush=True)
    return Finding(number, title, tuple(show()))


def main() -> None:
    """Examine the defects, print a table and write the findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=int, nargs="+", choices=DEFECTS, default=list(DEFECTS))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    os.environ.update(QUIET)
    logging.disable(logging.CRITICAL)  # Olive's own, for what is called in this process
    start = time.perf_counter()
    findings = [examine(number) for number in options.only]
    content = {
        "date": date.today().isoformat(),
        "platform": platform.system(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "seconds": round(time.perf_counter() - start, 1),
        "defects": [finding.to_json() for finding in findings],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(findings))
    print(options.out)


if __name__ == "__main__":
    main()
