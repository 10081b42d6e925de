"""Every registered evaluator keeps the contract."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.model import Model
from paretune.registry import names
from paretune.testing import check_evaluator
from tests.onnx_networks import write_network
from tests.pass_bench import tone_data

PARAMS: dict[str, dict[str, Any]] = {
    "classification": {"data": "tone.test", "rough_examples": 8},
    "exact_match": {"data": "tone.test", "max_new_tokens": 3, "rough_examples": 8},
    "perplexity": {"data": "wiki", "window": 16},
    "generation": {
        "prompt_tokens": [8, 16],
        "new_tokens": 4,
        "context": [0, 32],
        "cold_start": True,
    },
    "regression": {"data": "rows", "output": "y"},
    "agreement": {"data": "rows"},
    "footprint": {"loads": 1},
    "latency": {"shapes": {"x": [4, 8]}},
    "custom": {"function": "tests.evaluators.test_conformance:half", "metric": "half"},
}
OF_ARRAYS = {"latency", "regression", "agreement"}
OURS = [name for name in names("evaluators") if name in PARAMS]


def half(session: Any, examples: list[Any]) -> float:
    return 0.5


def test_every_evaluator_is_looked_at() -> None:
    assert set(names("evaluators")) - {"readback"} == set(PARAMS)


@pytest.mark.parametrize("name", OURS)
def test_it_keeps_the_contract(name: str, tiny_genai: Model, tmp_path: Path) -> None:
    for file, examples in (("tone.jsonl", 40), ("wiki.jsonl", 12)):
        rows = [{"x": e.prompt, "y": e.answer} for e in tone_data(examples).examples]
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"prompt": "{x}", "answer": "{y}"}
    data = {
        "tone": {"files": {"test": "tone.jsonl"}, **columns},
        "wiki": {"file": "wiki.jsonl", **columns},
        "rows": {"file": "rows.npz", "inputs": {"x": "x"}, "target": "y"},
    }
    draw = np.random.default_rng(0)
    arrays = {"x": draw.normal(size=(12, 8)).astype(np.float32), "y": draw.normal(size=(12, 3))}
    np.savez(tmp_path / "rows.npz", **arrays)
    network = write_network(tmp_path / "network")
    check_evaluator(
        name,
        PARAMS[name],
        model=network if name in OF_ARRAYS else tiny_genai.path,
        data=data,
        root=tmp_path,
        trust_remote_code=True,
    )
