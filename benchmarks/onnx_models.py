"""Real ONNX models searched on real labels: python benchmarks/onnx_models.py [--minutes 5].

For each model: its space (four ways to make it smaller, and the session's settings, threads
included), the front, the pick, and the pick's gain over the best session of the network as it is,
of the same space, at the same constraint on quality. So far there is one model, Magika; its
package is read from where it is installed (``pip install --no-deps magika==1.0.3``) or unpacked
(``--packages DIR``). The search is run by the command line, on an empty store. The exit status is
1 if a model has no pick.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from common import save, table
from networks import magika

from paretune.core.candidate import Candidate, describe
from paretune.core.jsontools import read_json

_SPEED = "latency_ms_p50"
_SHOWN = ("accuracy", "top1_agreement", "output_error", _SPEED, "throughput_per_s", "size_mb")


def main() -> int:
    """Search, print what was found, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each search")
    parser.add_argument("--packages", type=Path, default=Path(sysconfig.get_path("purelib")))
    parser.add_argument("--per-label", type=int, default=40, help="most files of a label")
    given = parser.parse_args()
    if not (given.packages / magika.MODEL).is_dir():
        raise SystemExit(
            f"no {magika.MODEL} in {given.packages}: pip install --no-deps magika=={magika.VERSION}"
        )
    with tempfile.TemporaryDirectory(prefix="paretune-onnx-") as name:
        place = Path(name)
        prepared = magika.prepare(given.packages, place, given.per_label)
        found = searched("magika", {**prepared, **space(given.minutes)}, place)
    print(f"\n{shown(found)}\n\nsaved in {save('onnx_models', {'models': [found]})}")
    return 0 if found["pick"] is not None else 1


def space(minutes: float) -> dict[str, Any]:
    """Return what is tried, measured and wanted."""
    return {
        "passes": [
            {
                "any": [
                    {"onnx_dynamic_int8": {"per_channel": [False, True]}},
                    {
                        "onnx_static_int8": {
                            "data": "files.train",
                            "calibration": ["minmax", "percentile"],
                            "per_channel": [False, True],
                        }
                    },
                    {"onnx_weight_only": {"bits": [4, 8]}},
                    "onnx_optimize",
                ],
                "optional": True,
            }
        ],
        "evaluate": [
            {"classification": {"data": "files.test"}},
            {"agreement": {"data": "files.test"}},
            {"latency": {"data": "files.test", "batch_size": 1}},
            "footprint",
        ],
        "target": {"threads": [1, 2]},
        "runtimes": [{"onnxruntime": {"spinning": [True, False]}}],
        "objectives": {"maximize": "accuracy", "minimize": _SPEED},
        "constraints": ["accuracy >= baseline - 0.01"],
        "search": {"time": f"{minutes:g}m", "prefer": _SPEED},
    }


def searched(name: str, config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Search by the command line; returns the figures.

    Args:
        name: Of the model.
        config: The configuration.
        place: An empty folder but for the data.
    """
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "paretune", "search", file]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--study", place / "study", "--store", place / "store"], check=False
    )
    seconds = time.monotonic() - begin
    if not (place / "study" / "results.json").is_file():
        raise SystemExit(f"the search of {name} ended with status {done.returncode}")
    results = read_json(place / "study" / "results.json")
    rows = {row["id"]: row for row in results["candidates"]}
    pick = rows.get(results["best"])
    plain = [row for row in rows.values() if not row["recipe"] and row["outcome"] == "ok"]
    return {
        "model": name,
        "status": done.returncode,
        "seconds": seconds,
        "config": dict(config),
        "candidates": list(rows.values()),
        "pick": pick,
        "best_plain": min(plain, key=_speed, default=None),
    }


def _speed(row: Mapping[str, Any]) -> float:
    value = row["metrics"].get(_SPEED, {}).get("value")
    return float("inf") if value is None else float(value)


def shown(found: Mapping[str, Any]) -> str:
    """Return the front, the baseline, the best plain session, and the gain, as Markdown."""
    pick, plain = found["pick"], found["best_plain"]
    rows = []
    for row in found["candidates"]:
        marks = [
            word
            for word, holds in (
                ("**pick**", pick is not None and row["id"] == pick["id"]),
                ("front", row["pareto"]),
                ("best as it is", plain is not None and row["id"] == plain["id"]),
            )
            if holds
        ]
        if marks or row["outcome"] not in ("ok", "pruned"):
            values = [row["metrics"].get(name, {}).get("value") for name in _SHOWN]
            name = describe(Candidate.from_json(row))
            rows.append([row["id"], name, row["outcome"], " ".join(marks), *values])
    count = len(found["candidates"])
    told = f"{found['model']}: {count} candidates in {found['seconds']:.0f} s."
    if pick is not None and plain is not None and _speed(pick) > 0:
        told += (
            f" The pick is {_speed(plain) / _speed(pick):.2f} times as fast as the best session of "
            "the network as it is."
        )
    return f"{told}\n\n{table(('#', 'candidate', 'outcome', '', *_SHOWN), rows)}"


if __name__ == "__main__":
    sys.exit(main())
