"""The whole chain on an NVIDIA GPU: LoRA, merge, GenAI in fp16 and int4, measured on CUDA.

    python benchmarks/cuda.py [--model FOLDER] [--time 20m]

Needs an NVIDIA GPU with its driver, ``pip install 'paretune[gpu]'``, and a Hugging Face model (by
default the demo's, ``make .models/smollm2/config.json``). Without a GPU it says so and ends with 2:
nothing here is measured on another device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from common import ROOT, candidate_table, save

import paretune
from paretune.targets.device.fingerprint import device
from paretune.targets.device.providers import check_provider

_TRAINING = {
    "train": "tone.train",
    "r": 8,
    "alpha": 16,
    "learning_rate": 1e-3,
    "epochs": 1,
    "batch_size": 8,
}


def configuration(model: Path, time: str) -> dict[str, Any]:
    """Return the search: the trained model in fp16 and int4, against the untrained one in fp16."""
    tone = {
        "file": str(ROOT / "examples" / "data" / "tone.jsonl"),
        "prompt": "{phrase}\nThe feeling is",
        "answer": " {tone}",
        "split": {"test": 0.3, "seed": 0},
    }
    return {
        "model": str(model),
        "data": {"tone": tone},
        "passes": [
            {"lora": _TRAINING},
            "merge",
            {"any": [{"genai": {"precision": "fp16"}}, {"genai": {"precision": "int4"}}]},
        ],
        "baseline": [{"genai": {"precision": "fp16"}}],
        "evaluate": [
            {"classification": {"data": "tone.test"}},
            {"generation": {"prompt_tokens": 64, "new_tokens": 64}},
            "footprint",
        ],
        "target": {"providers": ["cuda"], "threads": 1},
        "objectives": {"maximize": "accuracy", "minimize": ["decode_ms_p50", "size_mb"]},
        "search": {"time": time, "seed": 0},
    }


def main() -> int:
    """Search, print a table, write the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / ".models" / "smollm2")
    parser.add_argument("--time", default="20m")
    given = parser.parse_args()
    why = check_provider("cuda", device("local", Path(".")))
    if why is not None:
        print(f"not run: {why}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "cuda.yaml"
        config.write_text(
            yaml.safe_dump(configuration(given.model.resolve(), given.time)), encoding="utf-8"
        )
        found = paretune.optimize(
            config, study=Path(folder) / "study", store=Path(folder) / "store"
        )
        print(candidate_table(found.results))
        print(save("cuda", {"results": dict(found.results)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
