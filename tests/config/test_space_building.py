"""Values of a pass's parameters that fit no run of it are refused at their key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import write_stub_model

from paretune.config import load
from paretune.core.errors import ConfigError


def _load(folder: Path, **lora: Any) -> Any:
    write_stub_model(folder / "model")
    (folder / "tone.jsonl").write_text('{"text": "a"}\n' * 4)
    config = {
        "model": "model",
        "data": {"tone": {"file": "tone.jsonl", "text": "text"}},
        "passes": [{"lora": {"train": "tone", **lora}}, "merge"],
        "evaluate": ["readback"],
        "objectives": {"maximize": "accuracy"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return load(folder / "c.yaml")


@pytest.mark.parametrize(
    ("lora", "key", "words"),
    [
        ({"max_steps": 300, "stop_at": [100, 400]}, "stop_at", "stop_at is 400 steps"),
        ({"max_steps": 300, "stop_at": 0.5}, "stop_at", "0.5 is not a whole number"),
        ({"epochs": [1, 2], "stop_at": [1, 3]}, "stop_at", "stop_at is 3 epochs"),
        ({"best_checkpoint": True}, "best_checkpoint", "give eval_steps"),
    ],
)
def test_a_value_that_fits_no_training_is_refused_at_its_key(
    tmp_path: Path, lora: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        _load(tmp_path, **lora)
    assert f"lora.{key}" in str(caught.value)


def test_stops_are_a_range_or_a_choice_within_the_longest_training(tmp_path: Path) -> None:
    plan = _load(tmp_path, epochs=[1, 2], stop_at=[1, 2])
    assert plan.space.size == 4, "2 epochs of 1 is ruled out as its own candidate"
