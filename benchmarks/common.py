"""What every benchmark script shares: where results go, on what they were taken, tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from paretune.store import package_version
from paretune.targets.fingerprint import device

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
PACKAGES = (
    "paretune", "torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai", "optuna",
)  # fmt: skip


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
