"""What `record_chains.py` records: trainings, builds, and the space that they are a part of.

The trainings are 12 of the 24 combinations of r, learning rate, longest example and target modules,
so that each value occurs equally often. The first ones already hold every value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from paretune.core.candidate import Step, recipe_to_json
from paretune.core.jsontools import canonical

DATA: Mapping[str, Any] = {
    "prompt": "{phrase}\nThe feeling is",
    "answer": " {tone}",
    "split": {"test": 0.2, "group": "phrase", "seed": 0},
    "limit": 500,
}
"""How phrase-tone is read; the file comes from `common.public_data`."""
ROUGH = 32
COUNTS = (32, 48, 64)
"""Examples at which an accuracy is told, beside all of them."""
STEPS = 48
STOPS = (12, 24, 48)
"""Optimizer steps: of the whole training, and where there are checkpoints."""
_SAME = {"train": "tone.train", "batch_size": 8, "max_steps": STEPS}
_VARIED: Mapping[str, Sequence[Any]] = {
    "r": (4, 16),
    "learning_rate": (3e-4, 1e-3, 3e-3),
    "max_length": (16, 64),
    "target_modules": (["q_proj", "v_proj"], "all-linear"),
}
_HEAD, _DOWN = "*lm_head*", "*down_proj*"
_ANY: Sequence[Mapping[str, Any]] = (
    {"pass": "genai", "grid": {"precision": ["int4"], "block_size": [16, 32, 64, 128]}},
    {"pass": "genai", "grid": {"precision": ["fp32"]}},
    {"pass": "genai", "grid": {"precision": ["int8"]}},
    {
        "pass": "genai",
        "grid": {"precision": ["int8"], "is_symmetric": [False], "block_size": [128]},
    },
    {
        "pass": "genai",
        "grid": {"precision": ["int4"], "matmul_mixed_precision": ["mixed_layers:int8"]},
    },
    {
        "pass": "genai",
        "grid": {"precision": ["int4"], "is_symmetric": [False], "shared_embeddings": [False]},
    },
    {
        "chain": [
            {"pass": "genai", "grid": {"precision": ["fp32"]}},
            {
                "pass": "matmul_nbits",
                "grid": {
                    "bits": [4],
                    "keep_8bit": [
                        [_HEAD],
                        [_DOWN, _HEAD],
                        [_DOWN, _HEAD, "*o_proj*", "*v_proj*"],
                    ],
                },
            },
        ]
    },
)
THREADS = (1, 2)
SPACE: Mapping[str, Any] = {
    "stages": [
        {
            "pass": "lora",
            "grid": {
                **{name: [value] for name, value in _SAME.items()},
                **{name: list(values) for name, values in _VARIED.items()},
                "stop_at": list(STOPS),
            },
        },
        {"pass": "merge"},
        {"any": list(_ANY)},
    ],
    "threads": list(THREADS),
}
EVALUATORS: Sequence[Mapping[str, Any]] = (
    {
        "name": "classification",
        "metrics": {"accuracy": ["fraction", "maximize"]},
        "rungs": {"rough": ROUGH, "full": None},
    },
    {
        "name": "generation",
        "device": True,
        "processes": 3,
        "metrics": {"decode_ms_p50": ["ms", "minimize"], "ttft_ms_p50": ["ms", "minimize"]},
        "rungs": {"full": None},
    },
    {
        "name": "footprint",
        "metrics": {"size_mb": ["MB", "minimize"]},
        "rungs": {"smoke": None, "full": None},
    },
)
GENERATION = {"prompt_tokens": 64, "new_tokens": 32}


def trainings() -> list[dict[str, Any]]:
    """Return the parameters of each training, without where it stops; the order is the work's."""
    every = [dict(zip(_VARIED, values, strict=True)) for values in product(*_VARIED.values())]
    half = [one for one in every if _level(one) % 2 == 0]
    half.sort(key=lambda one: one["learning_rate"] != _VARIED["learning_rate"][1])
    return [{**_SAME, **one} for one in half]


def _level(one: Mapping[str, Any]) -> int:
    return sum(values.index(one[name]) for name, values in _VARIED.items())


def lora(training: Mapping[str, Any], stop: int) -> Step:
    """Return a training up to a step."""
    return Step("lora", {**training, "stop_at": stop})


def builds() -> list[tuple[Step, ...]]:
    """Return what is built of a merged model."""
    return [tuple(recipe) for stage in _ANY for recipe in _of(stage)]


def _of(stage: Mapping[str, Any]) -> Iterator[list[Step]]:
    if "chain" in stage:
        for parts in product(*(list(_of(inner)) for inner in stage["chain"])):
            yield [step for part in parts for step in part]
    else:
        grid = stage["grid"]
        for values in product(*grid.values()):
            yield [Step(stage["pass"], dict(zip(grid, values, strict=True)))]


def units(first_trainings: int | None = None) -> list[tuple[int, int, list[tuple[Step, ...]]]]:
    """Return what is built, in the order of the work: training, stop, builds.

    The whole trainings come first. The shortest ones have as many builds as the others: where a
    table has holes, a search learns that what is cheap cannot be had.

    Args:
        first_trainings: Of so many trainings; None: of all.
    """
    every, numbers = builds(), range(len(trainings()[:first_trainings]))
    return [(n, stop, every) for stop in reversed(STOPS) for n in numbers]


def name_of(recipe: Sequence[Step]) -> str:
    """Return what a recipe is called in the log."""
    return canonical(recipe_to_json(recipe))
