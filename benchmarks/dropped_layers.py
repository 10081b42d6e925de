"""Accuracy against decode time of models with fewer layers, trained for their own int4.

    python benchmarks/dropped_layers.py [--data demo] [--seeds 3]     trains, builds, accuracy
    python benchmarks/dropped_layers.py --speed [--rounds 7]          then: decode speed
    python benchmarks/dropped_layers.py --show                        the table of both

Layers are dropped as one block, the one of the smallest angular distance on the task's texts, and
what is left is trained (`lora`, two epochs), with ``quantize_for: next`` (``aware``) and without.
``--speed`` times the int4 builds of one seed in fresh processes, interleaved: a build's speed does
not depend on its weights. Run it on a quiet machine. The study stays in ``benchmarks/out``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import OUT, ROOT, save, table
from fronting.measuring import PROMPT, relative_speeds, speed_of
from fronting.texts import token_sequences
from quantization_aware import DATA, answers_of, configuration_of, difference, searched

from paretune.core.candidate import Step
from paretune.core.result import TrialResult
from paretune.store.artifacts import Store

NAME = "dropped_layers"
FOLDER = OUT / NAME
LAYERS = 30
"""Of SmolLM2, the model of this benchmark."""
DROPPED = (0, 4, 6, 10, 15)


def recipes(data: str, seeds: int) -> list[Any]:
    """Return the chains: how many layers are dropped, how it is trained, and with which seed."""
    common = {"train": "tone.train", **DATA[data], "epochs": 2}
    return [
        [
            *([{"drop_layers": {"layers": dropped, "data": "tone.train"}}] if dropped else []),
            {"lora": {**common, "seed": seed, **rounded}},
            "merge",
            {"genai": {"precision": "int4"}},
        ]
        for seed in range(seeds)
        for dropped in DROPPED
        for rounded in ({}, {"quantize_for": "next"})
    ]


def _step(outcome: TrialResult, name: str) -> Step | None:
    return next((step for step in outcome.candidate.recipe if step.name == name), None)


def measure_accuracy(data: str, seeds: int) -> dict[str, Any]:
    """Train, build and measure what the study does not have yet.

    Returns:
        The samples (right or wrong, by phrase) by training, layers kept and seed; and a package by
        layers kept.
    """
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    packages: dict[str, str] = {}
    for outcome in searched(configuration_of(data, recipes(data, seeds)), FOLDER):
        measured = answers_of(outcome)
        if measured is None or outcome.artifact is None:
            continue
        dropped, trained = _step(outcome, "drop_layers"), _step(outcome, "lora")
        assert trained is not None
        kept = str(LAYERS - (dropped.params["layers"] if dropped else 0))
        arm = "aware" if trained.params.get("quantize_for") else "lora"
        by_seed = samples.setdefault(arm, {}).setdefault(kept, {})
        by_seed[str(trained.params["seed"])] = list(measured)
        packages.setdefault(kept, outcome.artifact)
    return {"data": data, "samples": samples, "packages": packages}


def measure_speed(whole: dict[str, Any], rounds: int) -> None:
    """Time a package of each number of layers beside the whole model's."""
    store = Store(FOLDER / "store")
    asked: dict[str, tuple[str, str, Path, dict[str, Any]]] = {
        kept: (sys.executable, "genai", store.object_path(digest), {})
        for kept, digest in whole["packages"].items()
    }
    sequences, _ = token_sequences(ROOT / ".models" / "smollm2", 1)
    found, failed = relative_speeds(asked, str(LAYERS), sequences[0][:PROMPT], rounds)
    for kept, why in failed.items():
        print(f"{kept} layers: does not run: {why}")
    whole["speed"] = found


def shown(whole: dict[str, Any]) -> str:
    """Return a row per number of layers and training."""
    samples, speed = whole["samples"], whole.get("speed", {})
    base = samples["lora"][str(LAYERS)]
    rows = []
    for kept in sorted(whole["packages"], key=int, reverse=True):
        told = speed_of(speed.get(kept, {}))
        for arm in sorted(samples, reverse=True):
            by_seed = samples[arm].get(kept)
            if by_seed is None:
                continue
            mean = statistics.fmean(map(statistics.fmean, by_seed.values()))
            apart = None
            if by_seed is not base:
                by, low, high, _ = difference(by_seed, base)
                apart = f"{by:+.3f} ({low:+.3f} to {high:+.3f})"
            rows.append([kept, arm, len(by_seed), f"{mean:.3f}", apart, told])
    head = (
        "layers kept",
        "training",
        "seeds",
        "mean accuracy",
        f"against lora, {LAYERS} layers",
        "speed",
    )
    return table(head, rows)


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(DATA), default="demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    file = OUT / f"{NAME}.json"
    if given.speed or given.show:
        if not file.is_file():
            raise SystemExit(f"{file} is not there: run this script without --speed first")
        whole = json.loads(file.read_text(encoding="utf-8"))
    else:
        whole = measure_accuracy(given.data, given.seeds)
    if given.speed:
        measure_speed(whole, given.rounds)
    if not given.show:
        save(NAME, whole)
    print(shown(whole))


if __name__ == "__main__":
    main()
