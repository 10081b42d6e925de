"""Quantization-aware LoRA against LoRA and QLoRA, through builds of few bits.

    python benchmarks/quantization_aware.py [--data phrase-tone] [--seeds 3] [--steps N]
    python benchmarks/quantization_aware.py --data demo --seeds 3

The tutorial's data (`phrase-tone`), split by phrase, or the demo's own. Each training has the same
examples, steps and seeds. The trainings (``--arms``):

- ``lora``, ``qlora``: training that knows nothing of the build.
- ``aware``: `lora` with ``quantize_for: next``.
- ``lora, again``: after `lora` and its merge a second training like the first;
  ``lora, recovered``: a second one on the weights as the build rounds them; ``lora, distilled``:
  the same, towards the answers of the merged model.
- ``apart``: the last adapter stays beside the build (`genai_adapter`) and is not merged; after
  ``aware`` and ``recovered`` it is trained on the rounded base.

Accuracies are on the same held-out phrases, so differences are paired: per phrase the mean over the
seeds, resampled by phrase. The study stays in ``benchmarks/out``: the same command again continues
it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from common import OUT, ROOT, save, table
from phrase_tone import configuration

from paretune.api import Search
from paretune.config import load
from paretune.core.candidate import Step
from paretune.core.result import TrialResult
from paretune.display.live import make_display
from paretune.preflight.prepared import PreparedSearch
from paretune.search.run import Shortcuts
from paretune.stats.intervals import paired_bootstrap_difference
from paretune.store.artifacts import Store
from paretune.study.folder import Study

NAME = "quantization_aware"
_INT4 = {"precision": "int4"}
_AFTER = {
    "fp32": {"precision": "fp32"},
    "int8": {"precision": "int8"},
    "int4": _INT4,
    "int4 gptq": {**_INT4, "algorithm": "gptq"},
    "int4 k_quant_mixed": {**_INT4, "algorithm": "k_quant_mixed"},
    "int4 mix": {**_INT4, "matmul_mixed_precision": "last_matmul:int8,mixed_layers:int8"},
}
_APART, _AGAIN = " apart", ", again"
_RECOVERED, _DISTILLED = ", recovered", ", distilled"
BUILDS = {
    "lora": tuple(_AFTER),
    "qlora": ("int4", "int4 gptq", "int4 mix"),
    "aware": ("int4", "int4 mix"),
    f"lora{_AGAIN}": ("fp32", "int4"),
    **dict.fromkeys(
        (
            f"lora{_APART}",
            f"aware{_APART}",
            f"lora{_RECOVERED}",
            f"lora{_DISTILLED}",
            f"lora{_RECOVERED}{_APART}",
        ),
        ("int4",),
    ),
}
DATA: dict[str, dict[str, Any]] = {
    "phrase-tone": {"r": 16, "learning_rate": 1e-3},
    # As in examples/tone.yaml, which trains for one epoch or two.
    "demo": {"r": 8, "alpha": 16, "learning_rate": 1e-3, "batch_size": 8},
}
"""Where examples come from, and what the trainings on them have in common."""


def folder_of(data: str) -> Path:
    """Return where the study and the store of a data set are kept."""
    return OUT / (NAME if data == "phrase-tone" else f"{NAME}_{data}")


def recipe_of(arm: str, common: dict[str, Any], build: str) -> list[Any]:
    """Return the chain of a training and a build."""
    rounded = {**common, "quantize_for": "next"}
    if arm.startswith("aware"):
        steps: list[Any] = [{"lora": rounded}]
    else:
        steps = [{"qlora" if arm == "qlora" else "lora": common}]
    if _AGAIN in arm:
        steps += ["merge", {"lora": common}]
    if _RECOVERED in arm:
        steps += ["merge", {"lora": rounded}]
    if _DISTILLED in arm:
        steps += ["merge", {"lora": {**rounded, "distill": True}}]
    if arm.endswith(_APART):
        return [*steps, {"genai_adapter": _AFTER[build]}]
    return [*steps, "merge", {"genai": _AFTER[build]}]


def configuration_of(data: str, recipes: list[Any]) -> dict[str, Any]:
    """Return a search that tries the recipes and measures nothing but the accuracy."""
    config = configuration(
        [{"any": recipes}],
        evaluate=[{"classification": {"data": "tone.test"}}],
        baseline=recipes[0],
        target={"threads": [2]},
        objectives={"maximize": "accuracy"},
        constraints=[],
        search={"strategy": "exhaustive"},
    )
    tone = config["data"]["tone"]
    del tone["limit"]  # all of it
    if data == "demo":
        demo = yaml.safe_load((ROOT / "examples" / "tone.yaml").read_text(encoding="utf-8"))
        tone = demo["data"]["tone"]
        config["data"]["tone"] = {**tone, "file": str(ROOT / "examples" / tone["file"])}
    return config


def searched(config: dict[str, Any], folder: Path) -> list[TrialResult]:
    """Measure every candidate to its end, none stopped early."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "quantization-aware.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    prepared = PreparedSearch(load(file), Store(folder / "store"))
    study = Study(folder / "study")
    try:
        search = Search(prepared, study, make_display(), Shortcuts(early_stops=False))
        search.engine.run()
        search.finish("finished")
        return list(study.outcomes)
    finally:
        prepared.target.close()
        study.close()


def arm_of(recipe: Sequence[Step]) -> str:
    """Return which training a recipe has: `recipe_of` the other way round."""
    first, *second = (step for step in recipe if step.name in ("lora", "qlora"))
    arm = "aware" if first.params.get("quantize_for") else first.name
    for step in second:
        if step.params.get("distill"):
            arm += _DISTILLED
        else:
            arm += _RECOVERED if step.params.get("quantize_for") else _AGAIN
    return arm + (_APART if recipe[-1].name == "genai_adapter" else "")


def answers_of(outcome: TrialResult) -> tuple[float, ...] | None:
    """Return right (1) or wrong (0) of each phrase; None, and says so, where there is nothing."""
    measured = (outcome.measurements or {}).get("accuracy")
    if measured is None or not measured.samples:
        print(f"candidate {outcome.id} has no accuracy: {outcome.reason or outcome.kind}")
        return None
    return tuple(measured.samples)


def _samples(outcomes: list[TrialResult]) -> dict[tuple[str, str], dict[int, tuple[float, ...]]]:
    """Return right (1) or wrong (0) of each phrase, by training and build, and by seed."""
    names = {yaml.safe_dump(build): name for name, build in _AFTER.items()}
    found: dict[tuple[str, str], dict[int, tuple[float, ...]]] = {}
    for outcome in outcomes:
        recipe = outcome.candidate.recipe
        measured = answers_of(outcome)
        if measured is None:
            continue
        key = arm_of(recipe), names[yaml.safe_dump(dict(recipe[-1].params))]
        found.setdefault(key, {})[recipe[0].params["seed"]] = measured
    return found


def difference(
    one: Mapping[Any, Sequence[float]], other: Mapping[Any, Sequence[float]]
) -> tuple[float, float, float, list[float]]:
    """Return mean difference, its interval over phrases, and the difference of each seed.

    Args:
        one: What was measured of each phrase, by seed.
        other: The same phrases; only seeds that both have are compared.
    """
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
    parser.add_argument("--data", choices=list(DATA), default="phrase-tone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="optimizer steps in place of one epoch")
    parser.add_argument("--arms", nargs="+", choices=list(BUILDS), default=list(BUILDS))
    parser.add_argument("--builds", nargs="+", choices=list(_AFTER), default=list(_AFTER))
    given = parser.parse_args()
    length = {"epochs": 1} if given.steps is None else {"max_steps": given.steps}
    common = {"train": "tone.train", **DATA[given.data], **length}
    recipes = [
        recipe_of(arm, {**common, "seed": seed}, build)
        for seed in range(given.seeds)
        for arm in given.arms
        for build in BUILDS[arm]
        if build in given.builds
    ]
    folder = folder_of(given.data)
    samples = _samples(searched(configuration_of(given.data, recipes), folder))
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
            mean, low, high, each = difference(by_seed, base)
            differences.append([f"{arm} {build}", against, mean, low, high, each])
    print()
    head = ("what", "against", "difference", "low", "high", "by seed")
    print(table(head, differences))
    print(save(folder.name, {"accuracy": rows, "differences": differences}))


if __name__ == "__main__":
    main()
