"""LoRA against QLoRA on the tutorial's data: python benchmarks/qlora.py [--seeds 3].

The same recipe, data and seeds twice; only the base that the adapter is trained on differs: fp32,
or 4 bits (nf4, double quantization). Both adapters are merged into the full-precision weights.
Accuracy is measured on the same held-out phrases before (fp32) and after the build to int4.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from common import save, table
from phrase_tone import configuration

from paretune.api import Search, SearchResult
from paretune.config import load
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.store.artifacts import Store
from paretune.study.folder import Study

_BUILDS = ("fp32", "int4")


def training(name: str, seed: int) -> dict[str, Any]:
    """Return one training."""
    return {
        name: {"train": "tone.train", "r": 16, "learning_rate": 1e-3, "epochs": 1, "seed": seed}
    }


def searched(file: Path, folder: Path) -> SearchResult:
    """Measure every candidate to the end, none stopped early."""
    prepared, study = PreparedSearch(load(file), Store(folder / "store")), Study(folder / "study")
    try:
        search = Search(prepared, study, make_display(), Shortcuts(early_stops=False))
        search.engine.run()
        return search.finish("finished")
    finally:
        prepared.target.close()
        study.close()


def main() -> None:
    """Train, build and measure; print the tables; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    passes = [
        {"any": [training(name, s) for s in range(given.seeds) for name in ("lora", "qlora")]},
        "merge",
        {"genai": {"precision": list(_BUILDS)}},
    ]
    config = configuration(
        passes,
        evaluate=[{"classification": {"data": "tone.test"}}],
        baseline=[training("lora", 0), "merge", {"genai": {"precision": "fp32"}}],
        target={"threads": [2]},
        objectives={"maximize": "accuracy"},
        constraints=[],
    )
    del config["data"]["tone"]["limit"]  # all of it
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "qlora.yaml")
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        results = searched(file, Path(folder)).results
    rows, accuracy = [], dict[tuple[str, str], list[float]]()
    for row in results["candidates"]:
        first, build = row["recipe"][0], row["recipe"][-1]["params"]["precision"]
        m = row["metrics"].get("accuracy", {"value": None})
        spent = next((s["s"] for s in row["seconds"] if s["step"] == first["pass"]), None)
        interval = "" if m["value"] is None else f"{m['low']:.3f} to {m['high']:.3f}"
        rows.append(
            [
                first["pass"],
                first["params"]["seed"],
                build,
                row["outcome"],
                m["value"],
                interval,
                spent,
            ]
        )
        if m["value"] is not None:
            accuracy.setdefault((first["pass"], build), []).append(m["value"])
    print(table(("training", "seed", "build", "outcome", "accuracy", "95 %", "training s"), rows))
    print()
    means = [
        [name, build, statistics.fmean(values), min(values), max(values), len(values)]
        for (name, build), values in accuracy.items()
    ]
    print(table(("training", "build", "mean accuracy", "lowest", "highest", "seeds"), means))
    print(save("qlora", {"candidates": rows, "means": means}))


if __name__ == "__main__":
    main()
