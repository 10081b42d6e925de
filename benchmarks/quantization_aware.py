"""Quantization-aware LoRA against LoRA and QLoRA, through builds of few bits.

    python benchmarks/quantization_aware.py [--seeds 3] [--steps N] [--arms lora aware qlora]

The tutorial's data (`phrase-tone`), split by phrase. Each training has the same examples, steps and
seeds; `aware` is `lora` with ``quantize_for: next``; `apart` keeps the adapter beside the build
(`genai_adapter`) and does not merge it: with `aware`, it is trained on the rounded base. Accuracies
are on the same held-out phrases, so differences are paired: per phrase the mean over the seeds,
resampled by phrase. The study stays in ``benchmarks/out/quantization_aware``: the same command
again continues it.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any, get_args

import yaml
from common import OUT, save, table
from phrase_tone import configuration

from paretune.api import Search
from paretune.config import load
from paretune.core.candidate import Step
from paretune.core.result import TrialResult
from paretune.display.live import make_display
from paretune.passes.genai.options import Algorithm
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.stats.intervals import paired_bootstrap_difference
from paretune.store.artifacts import Store
from paretune.study.folder import Study

FOLDER = OUT / "quantization_aware"
_INT4 = {"precision": "int4"}
_AFTER = {
    "fp32": {"precision": "fp32"},
    "int8": {"precision": "int8"},
    "int4": _INT4,
    "int4 k_quant_mixed": {**_INT4, "algorithm": "k_quant_mixed"},
}
if "gptq" in get_args(Algorithm):
    _AFTER["int4 gptq"] = {**_INT4, "algorithm": "gptq"}
_APART = " apart"
_BUILDS = {"lora": tuple(_AFTER), "qlora": ("int4",), "aware": ("int4",)}
_BUILDS |= {f"lora{_APART}": ("int4",), f"aware{_APART}": ("int4",)}


def _training(arm: str, seed: int, steps: int | None) -> dict[str, Any]:
    params = {"train": "tone.train", "r": 16, "learning_rate": 1e-3, "seed": seed}
    params |= {"epochs": 1} if steps is None else {"max_steps": steps}
    if arm.startswith("aware"):
        params["quantize_for"] = "next"
    return {"qlora" if arm == "qlora" else "lora": params}


def _recipe(arm: str, seed: int, steps: int | None, build: str) -> list[Any]:
    after = [{"genai_adapter": _AFTER[build]}]
    if not arm.endswith(_APART):
        after = ["merge", {"genai": _AFTER[build]}]
    return [_training(arm, seed, steps), *after]


def _searched(config: dict[str, Any]) -> list[TrialResult]:
    """Measure every candidate to its end, none stopped early."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / "quantization-aware.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    prepared = PreparedSearch(load(file), Store(FOLDER / "store"))
    study = Study(FOLDER / "study")
    try:
        search = Search(prepared, study, make_display(), Shortcuts(early_stops=False))
        search.engine.run()
        search.finish("finished")
        return list(study.outcomes)
    finally:
        prepared.target.close()
        study.close()


def _arm(first: Step, last: Step) -> str:
    if first.name == "qlora":
        return first.name
    trained = "aware" if first.params.get("quantize_for") else "lora"
    return trained + (_APART if last.name == "genai_adapter" else "")


def _samples(outcomes: list[TrialResult]) -> dict[tuple[str, str], dict[int, tuple[float, ...]]]:
    """Return right (1) or wrong (0) of each phrase, by training and build, and by seed."""
    names = {yaml.safe_dump(build): name for name, build in _AFTER.items()}
    found: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
    for outcome in outcomes:
        first, last = outcome.candidate.recipe[0], outcome.candidate.recipe[-1]
        measured = (outcome.measurements or {}).get("accuracy")
        if measured is None or not measured.samples:
            print(f"candidate {outcome.id} has no accuracy: {outcome.reason or outcome.kind}")
            continue
        key = _arm(first, last), names[yaml.safe_dump(dict(last.params))]
        found.setdefault(key, {})[first.params["seed"]] = tuple(measured.samples)
    return found


def _difference(
    one: dict[int, tuple[float, ...]], other: dict[int, tuple[float, ...]]
) -> tuple[float, float, float, list[float]]:
    """Return mean difference, its interval over phrases, and the difference of each seed."""
    seeds = sorted(one.keys() & other.keys())
    means = [
        [statistics.fmean(values) for values in zip(*(each[s] for s in seeds), strict=True)]
        for each in (one, other)
    ]
    by_seed = [statistics.fmean(one[s]) - statistics.fmean(other[s]) for s in seeds]
    _, low, high = paired_bootstrap_difference(*means)
    return statistics.fmean(by_seed), low, high, by_seed


def main() -> None:
    """Train, build and measure; print the tables; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="optimizer steps in place of one epoch")
    parser.add_argument("--arms", nargs="+", choices=list(_BUILDS), default=list(_BUILDS))
    parser.add_argument("--builds", nargs="+", choices=list(_AFTER), default=list(_AFTER))
    given = parser.parse_args()
    recipes = [
        _recipe(arm, seed, given.steps, build)
        for seed in range(given.seeds)
        for arm in given.arms
        for build in _BUILDS[arm]
        if build in given.builds
    ]
    config = configuration(
        [{"any": recipes}],
        evaluate=[{"classification": {"data": "tone.test"}}],
        baseline=recipes[0],
        target={"threads": [2]},
        objectives={"maximize": "accuracy"},
        constraints=[],
        search={"strategy": "exhaustive"},
    )
    del config["data"]["tone"]["limit"]  # all of it
    samples = _samples(_searched(config))
    rows = [
        [arm, build, statistics.fmean(map(statistics.fmean, by_seed.values())), len(by_seed)]
        for (arm, build), by_seed in sorted(samples.items())
    ]
    print(table(("training", "build", "mean accuracy", "seeds"), rows))
    reference = samples.get(("lora", "fp32"))
    plain = samples.get(("lora", "int4"))
    differences = []
    for against, base in (("lora fp32", reference), ("lora int4", plain)):
        for (arm, build), by_seed in sorted(samples.items()):
            if base is None or by_seed is base or not by_seed.keys() & base.keys():
                continue
            mean, low, high, each = _difference(by_seed, base)
            differences.append([f"{arm} {build}", against, mean, low, high, each])
    print()
    head = ("what", "against", "difference", "low", "high", "by seed")
    print(table(head, differences))
    print(save("quantization_aware", {"accuracy": rows, "differences": differences}))


if __name__ == "__main__":
    main()
