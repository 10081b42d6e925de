"""The demo from nothing: what a newcomer gets from ``make demo`` in its ten minutes of search.

    python benchmarks/demo.py [--busy-core]

Runs ``examples/demo.py`` with an empty store and an empty study, and watches what it records. With
``--busy-core`` it may use one core only, and another program computes on that core all the while.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import ROOT, candidate_table, save, table

from paretune.study.folder import read_outcomes

_BUSY = "while True: pass"
_LOOK_EVERY_S = 0.5


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Keep a core busy, as another program would."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        os.sched_setaffinity(process.pid, {core})
        yield
    finally:
        process.kill()
        process.wait()


def run(folder: Path, core: int | None) -> dict[str, Any]:
    """Run the demo in a folder of its own; returns what was reached, and when.

    Args:
        folder: An empty folder.
        core: The one core that it may use; None: all.
    """
    environment = {**os.environ, "PARETUNE_STORE": str(folder / "store")}
    start, first = time.monotonic(), None
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "demo.py")],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        while process.poll() is None:
            time.sleep(_LOOK_EVERY_S)
            if first is None and any(_is_ok(f) for f in folder.glob("**/outcome.json")):
                first = time.monotonic() - start
    wall = time.monotonic() - start
    print((folder / "output.txt").read_text(encoding="utf-8", errors="replace"))
    study = folder / "studies" / "tone"
    results = json.loads((study / "results.json").read_text(encoding="utf-8"))
    rows = results["candidates"]
    finals = sorted(
        o.id for o in read_outcomes(study) if any(step.step == "finals" for step in o.seconds)
    )
    return {
        "status": process.returncode,
        "wall_s": round(wall, 1),
        "first_complete_s": None if first is None else round(first, 1),
        "candidates": len(rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows)),
        "ok": sum(row["outcome"] == "ok" for row in rows),
        "finalists": finals,
        "tuned_fp32_accuracy": tuned_fp32(rows),
        "pick": results["best"],
        "results": results,
    }


def _is_ok(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["outcome"] == "ok")
    except (OSError, ValueError, KeyError):  # being written, or set aside
        return False


def tuned_fp32(rows: list[Mapping[str, Any]]) -> float | None:
    """Return the accuracy of the fine-tuned model before it is quantized, if it was measured."""
    for row in rows:
        passes = [step["pass"] for step in row["recipe"]]
        last = row["recipe"][-1]["params"] if row["recipe"] else {}
        if "lora" in passes and passes[-1] == "genai" and last.get("precision") == "fp32":
            value = row["metrics"].get("accuracy", {}).get("value")
            if value is not None and row["outcome"] == "ok":
                return float(value)
    return None


def main() -> None:
    """Run it once, and print what was reached beside what is asked for."""
    parser = argparse.ArgumentParser(description="The demo, from nothing.")
    parser.add_argument("--busy-core", action="store_true", help="One core, shared with a loop.")
    asked = parser.parse_args()
    core = min(os.sched_getaffinity(0)) if asked.busy_core else None
    with tempfile.TemporaryDirectory() as name:
        if core is None:
            found = run(Path(name), None)
        else:
            with busy(core):
                found = run(Path(name), core)
    print(candidate_table(found["results"]))
    print()
    print(
        table(
            ("", "reached", "asked"),
            [
                [
                    "first complete result, s after the start",
                    found["first_complete_s"],
                    "90 at most",
                ],
                ["wall time, s", found["wall_s"], "about 600 at most"],
                ["candidates with a result", found["candidates"], "12 or more"],
                ["of them ok", found["ok"], "10 or more"],
                ["others", str({k: n for k, n in found["outcomes"].items() if k != "ok"}), ""],
                ["measured in the finals", str(found["finalists"]), "two or more"],
                ["accuracy of the tuned fp32 model", found["tuned_fp32_accuracy"], "0.8 or more"],
            ],
        )
    )
    suffix = "_busy_core" if asked.busy_core else ""
    print(save("demo", {"busy_core": asked.busy_core, **found}))
    if suffix:
        print("(on one core, beside a busy loop)")


if __name__ == "__main__":
    main()
