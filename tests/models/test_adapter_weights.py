"""An adapter's settings and its matrices: what PEFT would leave out without a word is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune.models.adapter_weights import check_matrices, check_settings

_Q, _V = (f"base_model.model.model.layers.0.self_attn.{x}_proj" for x in "qv")
SETTINGS: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
WHOLE = {
    f"{module}.lora_{side}.weight": shape
    for module in (_Q, _V)
    for side, shape in (("A", (4, 64)), ("B", (64, 4)))
}


def told(tensors: dict[str, tuple[int, ...]], **settings: Any) -> list[str]:
    found = check_matrices(Path("adapter"), {**SETTINGS, **settings}, tensors)
    return [finding.message for finding in found if finding.fatal]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": None},
        {"target_modules": r".*\.(q|v)_proj"},
        {"target_modules": ["model.layers.0.self_attn.q_proj", "v_proj"]},
        {"exclude_modules": ["o_proj"]},
        {"r": 8, "rank_pattern": {".*": 4}},
        {"target_modules": "(", "exclude_modules": None},
    ],
)
def test_what_belongs_together_passes(settings: dict[str, Any]) -> None:
    assert told(WHOLE, **settings) == []
    named = {name.replace(".weight", ".default.weight"): shape for name, shape in WHOLE.items()}
    assert told(named, **settings) == []
    embedding = {
        f"base_model.model.model.embed_tokens.lora_embedding_{side}": shape
        for side, shape in (("A", (4, 320)), ("B", (64, 4)))
    }
    assert told({**WHOLE, **embedding}, target_modules=None, rank_pattern={"x": 4}) == []


@pytest.mark.parametrize(
    ("tensors", "settings", "expected"),
    [
        ({}, {}, "holds no LoRA matrices"),
        ({"base_model.model.model.norm.weight": (64,)}, {}, "holds no LoRA matrices"),
        (
            {n.removeprefix("base_model.model."): s for n, s in WHOLE.items()},
            {},
            "does not begin with 'base_model.model.'",
        ),
        ({n.removeprefix("base_"): s for n, s in WHOLE.items()}, {}, "does not begin with"),
        ({n: s for n, s in WHOLE.items() if "lora_B" not in n}, {}, "its lora_B is not"),
        ({n: s for n, s in WHOLE.items() if n != f"{_V}.lora_A.weight"}, {}, "its lora_A is not"),
        (WHOLE, {"target_modules": ["q_proj"]}, "a module 'model.layers.0.self_attn.v_proj'"),
        (WHOLE, {"target_modules": r".*q_proj"}, "leaves out"),
        (WHOLE, {"exclude_modules": ["v_proj"]}, "leaves out"),
        (WHOLE, {"r": 8}, "has rank 4, and adapter_config.json says r = 8"),
        ({**WHOLE, f"{_Q}.lora_B.weight": (64, 2)}, {}, "has rank 4, and its lora_B 2"),
    ],
)
def test_what_peft_would_leave_out_is_refused(
    tensors: dict[str, tuple[int, ...]], settings: dict[str, Any], expected: str
) -> None:
    (message,) = told(tensors, **settings)
    assert expected in message


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"r": "4"}, "r is '4'"),
        ({"r": 0}, "r is 0"),
        ({"r": None}, "r is None"),
        ({"r": True}, "r is True"),
        ({"lora_alpha": "16"}, "lora_alpha is '16'"),
        ({"rank_pattern": {"q_proj": "8"}}, "rank_pattern: 'q_proj' is '8'"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern: 'q_proj' is None"),
    ],
)
def test_numbers_that_are_none_are_refused(settings: dict[str, Any], expected: str) -> None:
    (finding,) = check_settings(Path("adapter_config.json"), {**SETTINGS, **settings})
    assert finding.fatal
    assert expected in finding.message


def test_an_alpha_of_zero_is_a_note_and_good_numbers_are_nothing() -> None:
    (finding,) = check_settings(Path("adapter_config.json"), {**SETTINGS, "lora_alpha": 0})
    assert not finding.fatal
    good = {**SETTINGS, "lora_alpha": 0.5, "rank_pattern": {"a": 2}, "alpha_pattern": {"a": 1.5}}
    assert list(check_settings(Path("adapter_config.json"), good)) == []
