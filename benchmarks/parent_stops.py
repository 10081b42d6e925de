"""What the check of a trained model saves: python benchmarks/parent_stops.py [--minutes 10].

SmolLM2 learns the demo's task twice: once with a learning rate at which it learns nothing, once
properly; from each training come four builds, under ``accuracy >= 0.7``. The search measures a
trained model once, before anything is built from it, and stops what no build can bring to the
limit. Printed are the seconds of training, check, and builds, by training. The exit status is 1
unless every build of the first training was stopped so, and one of the second was measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, save, table

from paretune.core.jsontools import read_json

LIMIT = "accuracy >= 0.7"
_TRAININGS = {
    "learns nothing": {"learning_rate": 1e-7, "max_steps": 2},
    "learns": {"learning_rate": 1e-3, "epochs": 1},
}
_COMMON = {"train": "tone.train", "r": 8, "alpha": 16, "batch_size": 8}


def main() -> int:
    """Search, print what each training cost, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the search")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="paretune-parents-") as made:
        folder = Path(made)
        config = folder / "tone.yaml"
        config.write_text(yaml.safe_dump(_configuration()), encoding="utf-8")
        command = ["search", str(config), "--time", f"{minutes:g}m"]
        command += ["--study", str(folder / "study"), "--store", str(folder / "store")]
        subprocess.run([sys.executable, "-m", "paretune", *command], check=False)
        candidates = read_json(folder / "study" / "results.json")["candidates"]
    rows = [_row(name, params, candidates) for name, params in _TRAININGS.items()]
    head = ("training", "its seconds", "check, s", "stopped before a build", "measured", "each, s")
    print(table(head, [[row[name] for name in head] for row in rows]))
    print(save("parent_stops", {"limit": LIMIT, "rows": rows}))
    nothing, learns = rows
    return 0 if nothing["stopped before a build"] == 4 and learns["measured"] else 1


def _configuration() -> dict[str, Any]:
    example = ROOT / "examples" / "tone.yaml"
    config: dict[str, Any] = yaml.safe_load(example.read_text(encoding="utf-8"))
    config["model"] = str((example.parent / config["model"]).resolve())
    config["data"]["tone"]["file"] = str(example.parent / config["data"]["tone"]["file"])
    builds = [{"precision": "int4"}, {"precision": "int8"}]
    config["passes"] = [
        {"any": [{"lora": {**_COMMON, **params}} for params in _TRAININGS.values()]},
        "merge",
        {"any": [*({"genai": build} for build in builds), _BLOCKS]},
    ]
    config["objectives"] = {"maximize": "accuracy", "minimize": "decode_ms_p50"}
    config["constraints"] = [LIMIT]
    config["search"] = {"strategy": "exhaustive", "finals": 0, "seed": 0}
    return config


_BLOCKS = {"genai": {"precision": "int4", "block_size": [16, 128]}}


def _row(name: str, params: Mapping[str, Any], candidates: list[Any]) -> dict[str, Any]:
    """Return what one training and its builds cost."""
    rate = params["learning_rate"]
    mine = [c for c in candidates if c["recipe"][0]["params"].get("learning_rate") == rate]
    steps = [step for c in mine for step in c["seconds"] if not step["cached"]]
    once = {name: sum(s["s"] for s in steps if s["step"] == name) for name in _ONCE}
    measured = [c for c in mine if c["metrics"]]
    later = sum(s["s"] for s in steps if s["step"] not in _ONCE)
    return {
        "training": name,
        "its seconds": once["lora"] + once["merge"],
        "check, s": once["parent"],
        "stopped before a build": sum("before any build" in (c["reason"] or "") for c in mine),
        "measured": len(measured),
        "each, s": later / len(measured) if measured else None,
    }


_ONCE = ("lora", "merge", "parent")


if __name__ == "__main__":
    sys.exit(main())
