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
    "token_classification": {"data": "tokens"},
    "embedding": {"data": "groups"},
    "recognition": {"data": "lines", "postprocess": "steps.py:text"},
    "detection": {"data": "boxes", "postprocess": "steps.py:boxes"},
    "footprint": {"loads": 1},
    "latency": {"shapes": {"x": [4, 8]}},
    "custom": {"function": "tests.evaluators.test_conformance:half", "metric": "half"},
}
OF_ARRAYS = {"latency", "regression", "agreement", "token_classification", "embedding"}
OF_ARRAYS |= {"recognition", "detection"}
STEPS = """
def text(outputs):
    return "a" if outputs["y"][0] > 0 else "b"

def boxes(outputs):
    return [{"box": [1, 1, 2 + abs(float(outputs["y"][0])), 3], "label": "a", "score": 0.5}]
"""
OURS = [name for name in names("evaluators") if name in PARAMS]


def half(session: Any, examples: list[Any]) -> float:
    return 0.5


def write_rows(file: Path, inputs: Any, answer: Any) -> None:
    rows = ({"x": x.tolist(), "y": answer} for x in inputs)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


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
        **{
            name: {"file": f"{name}.jsonl", "inputs": {"x": "x"}, "target": "y"}
            for name in ("boxes", "lines", "groups")
        },
        "tokens": {"file": "tokens.npz", "inputs": {"x": "x"}, "target": "y"},
        "rows": {"file": "rows.npz", "inputs": {"x": "x"}, "target": "y"},
    }
    draw = np.random.default_rng(0)
    arrays = {"x": draw.normal(size=(12, 8)).astype(np.float32), "y": draw.normal(size=(12, 3))}
    np.savez(tmp_path / "rows.npz", **arrays)
    (tmp_path / "steps.py").write_text(STEPS)
    write_rows(tmp_path / "boxes.jsonl", arrays["x"], [{"box": [1, 1, 3, 3], "label": "a"}])
    write_rows(tmp_path / "lines.jsonl", arrays["x"], "a")
    write_rows(tmp_path / "groups.jsonl", arrays["x"], "all")
    # The network's batch axis counts tokens here.
    tokens = {"x": arrays["x"].reshape(1, 12, 8), "y": np.arange(12).reshape(1, 12) % 3}
    np.savez(tmp_path / "tokens.npz", **tokens)
    network = write_network(tmp_path / "network")
    check_evaluator(
        name,
        PARAMS[name],
        model=network if name in OF_ARRAYS else tiny_genai.path,
        data=data,
        root=tmp_path,
        trust_remote_code=True,
    )
