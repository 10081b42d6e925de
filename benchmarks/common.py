"""What every benchmark script shares: where results go, on what they were taken, tables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from paretune.core.distributions import package_version
from paretune.study.results_document import PACKAGES
from paretune.targets.device.fingerprint import device

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"


def public_data(name: str) -> Path:
    """Return a folder of the public data sets, from ``$PARETUNE_DATA`` or ``../shared/data``.

    Raises:
        SystemExit: It is not there; says where it was looked for.
    """
    root = Path(os.environ.get("PARETUNE_DATA", ROOT.parent / "shared" / "data"))
    if not (root / name).is_dir():
        raise SystemExit(f"no {name} in {root}: set PARETUNE_DATA to the public data sets' folder")
    return root / name


def save(name: str, content: dict[str, Any]) -> Path:
    """Write a benchmark's figures as JSON, with the device and the versions."""
    OUT.mkdir(parents=True, exist_ok=True)
    info = device("local", Path(".")).to_json()
    versions = {package: package_version(package) for package in PACKAGES}
    whole = {"date": date.today().isoformat(), "device": info, "versions": versions, **content}
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


_SHOWN = ("accuracy", "decode_ms_p50", "ttft_ms_p50", "size_mb", "peak_memory_mb")


def candidate_table(results: Mapping[str, Any]) -> str:
    """Return one row a candidate: what it is, how it ended, its main figures."""
    from paretune.core.candidate import Candidate, describe

    rows = []
    for row in results["candidates"]:
        marks = ("**pick** " if row["id"] == results["best"] else "") + (
            "front" if row["pareto"] else ""
        )
        values = [_with_interval(row["metrics"].get(name)) for name in _SHOWN]
        rows.append([row["id"], describe(Candidate.from_json(row)), row["outcome"], marks, *values])
    return table(("#", "candidate", "outcome", "", *_SHOWN), rows)


def _with_interval(m: Mapping[str, Any] | None) -> str:
    if m is None or m["value"] is None:
        return ""
    if m["low"] is None or m["low"] == m["high"]:
        return f"{m['value']:.4g}"
    return f"{m['value']:.4g} ({m['low']:.3g} to {m['high']:.3g})"
