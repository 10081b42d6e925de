"""A search of one network by the command line, and what it found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from common import table
from networks.subject import Prepared

from paretune.core.candidate import Candidate, describe
from paretune.core.jsontools import read_json

SPEED = "latency_ms_p50"
THREADS = (1, 2)
CALIBRATIONS = ("minmax", "percentile")
ROWS = 64
"""Of calibration."""


def configuration(prepared: Prepared, minutes: float) -> dict[str, Any]:
    """Return what is tried, measured and wanted of a network.

    Args:
        prepared: The network.
        minutes: Of the search.
    """
    data = {"data": "rows.train", "calibration_rows": ROWS}
    ways: list[Any] = [
        {"onnx_dynamic_int8": {"per_channel": [False, True]}},
        {
            "onnx_static_int8": {
                **data,
                "calibration": list(CALIBRATIONS),
                "per_channel": [False, True],
            }
        },
        {"onnx_mixed": {**data, "per_channel": True, "budget": [0.1, 0.3]}},
        {"onnx_weight_only": {"bits": [4, 8]}},
        {"onnx_float16": {}},
    ]
    for step in prepared.passes:
        ((name, params),) = step.items()
        ways.append({name: {**params, **(data if name == "onnx_static_int8" else {})}})
    if not any("onnx_optimize" in way for way in ways):
        ways.append({"onnx_optimize": {}})
    better = "minimize" if prepared.metric == "max_abs_difference" else "maximize"
    objectives: dict[str, Any] = (
        {"minimize": [prepared.metric, SPEED]}
        if better == "minimize"
        else {"maximize": prepared.metric, "minimize": SPEED}
    )
    return {
        "model": prepared.model,
        "data": {"rows": dict(prepared.data)},
        "passes": [{"any": ways, "optional": True}],
        "evaluate": [
            *map(dict, prepared.quality),
            {"latency": {"shapes": {name: list(of) for name, of in prepared.shapes.items()}}},
            "footprint",
        ],
        "target": {"threads": list(THREADS)},
        "runtimes": [{"onnxruntime": {"spinning": [True, False]}}],
        "objectives": objectives,
        "constraints": [prepared.constraint],
        "search": {"time": f"{minutes:g}m", "prefer": SPEED},
    }


def searched(name: str, config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Search by the command line; returns the figures.

    Args:
        name: Of the network.
        config: The configuration.
        place: The folder with the data; a study that is there goes on.

    Raises:
        SystemExit: The command left no results.
    """
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "paretune", "search", file, "--trust-remote-code"]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--study", place / "study", "--store", place / "store"], check=False
    )
    seconds = time.monotonic() - begin
    if not (place / "study" / "results.json").is_file():
        raise SystemExit(f"the search of {name} ended with status {done.returncode}")
    results = read_json(place / "study" / "results.json")
    rows = {row["id"]: row for row in results["candidates"]}
    plain = [row for row in rows.values() if not row["recipe"] and row["outcome"] == "ok"]
    return {
        "status": done.returncode,
        "seconds": seconds,
        "config": dict(config),
        "candidates": list(rows.values()),
        "pick": rows.get(results["best"]),
        "best_plain": min(plain, key=speed, default=None),
    }


def speed(row: Mapping[str, Any]) -> float:
    """Return the milliseconds of a candidate's run; infinite where there are none."""
    value = row["metrics"].get(SPEED, {}).get("value")
    return float("inf") if value is None else float(value)


def named(row: Mapping[str, Any]) -> str:
    """Return what a candidate is, in a few words."""
    return describe(Candidate.from_json(row))


def shown(name: str, found: Mapping[str, Any], metric: str) -> str:
    """Return the front, the baseline, the best plain session, and the gain, as Markdown.

    Args:
        name: Of the network.
        found: As `searched` returns it.
        metric: Of quality.
    """
    heads = list(dict.fromkeys((metric, "top1_agreement", "output_error", SPEED, "size_mb")))
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
            values = [row["metrics"].get(head, {}).get("value") for head in heads]
            rows.append([row["id"], named(row), row["outcome"], " ".join(marks), *values])
    told = f"{name}: {len(found['candidates'])} candidates in {found['seconds']:.0f} s."
    if pick is not None and plain is not None and speed(pick) > 0:
        told += (
            f" The pick is {speed(plain) / speed(pick):.2f} times as fast as the best session of "
            "the network as it is."
        )
    return f"{told}\n\n{table(('#', 'candidate', 'outcome', '', *heads), rows)}"
