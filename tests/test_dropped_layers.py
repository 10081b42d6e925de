"""Layers are dropped, the rest is trained, merged, built and measured: a whole search, all real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune import optimize
from paretune.preflight.dry_run import foresee
from tests.test_end_to_end import write_config
from tests.tiny_models import make_small, make_tiny_llama


def _qwen2(folder: Path) -> Path:
    """Write a small Qwen2 with the tokenizer of the tiny Llama."""
    return make_small(
        folder,
        "Qwen2",
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )


def _config(folder: Path, model: Path, drop: dict[str, Any]) -> Path:
    return write_config(
        folder,
        model,
        passes=[
            {"drop_layers": drop},
            {"lora": {"train": "tone.train", "r": 4, "learning_rate": 1e-2, "max_steps": 3}},
            "merge",
            {"genai": {"precision": "int4"}},
        ],
        search={"strategy": "exhaustive", "finals": 0},
    )


def test_a_search_over_how_many_layers_are_dropped(tmp_path: Path) -> None:
    config = _config(tmp_path, _qwen2(tmp_path), {"layers": [1, 2], "data": "tone.train"})
    told = foresee(config, store=tmp_path / "store")
    assert not list((tmp_path / "store" / "objects").iterdir())
    assert (told["candidates"], told["skipped"], told["builds"]) == (2, 0, 9)

    result = optimize(config, study=tmp_path / "study", store=tmp_path / "store")
    rows = {
        step["params"]["layers"]: row
        for row in result.results["candidates"]
        for step in row["recipe"]
        if step["pass"] == "drop_layers"
    }
    assert {count: row["outcome"] for count, row in rows.items()} == {1: "ok", 2: "ok"}
    for count, row in rows.items():
        (found,) = (s["details"] for s in row["seconds"] if s["step"] == "drop_layers")
        assert len(found["dropped"]) == count
        assert (found["layers"], len(found["distances"])) == (4, 5 - count)
        least = min(found["distances"])
        assert found["distances"][found["dropped"][0]] == least
    page = (result.study / "report.html").read_text()
    assert "What passes found" in page
    assert "dropped layer" in page
    one, two = (rows[count]["metrics"]["size_mb"]["value"] for count in (1, 2))
    assert two < one


def test_more_layers_than_there_are_is_told_before_anything_runs(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    config = _config(tmp_path, model, {"layers": 2})
    result = optimize(config, study=tmp_path / "study", store=tmp_path / "store")
    skipped = result.results["candidates"][1]
    assert skipped["outcome"] == "skipped"
    assert "2 of 2 layers" in skipped["reason"]


@pytest.mark.parametrize(
    ("drop", "why"),
    [
        ({"layers": 1, "drop": [0]}, "give either layers"),
        ({}, "give either layers"),
        ({"drop": [0, 2]}, "not consecutive"),
        ({"layers": 4}, "4 of 4 layers"),
    ],
)
def test_the_dry_run_tells_why_no_layer_can_be_dropped(
    tmp_path: Path, drop: dict[str, Any], why: str
) -> None:
    config = _config(tmp_path, make_tiny_llama(tmp_path / "model", layers=4), drop)
    told = foresee(config, store=tmp_path / "store")
    assert told["skipped"] == 1
    assert why in str(told["reasons"])
