"""What `benchmarks/roundings.py` builds, and how it shows it."""

from __future__ import annotations

import pytest
from roundings import VARIANTS, shown

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams


def test_speeds_are_relative_to_plain_int4() -> None:
    row = {"perplexity": 9.0, "token_ms_p50": 8.0}
    text = shown({"int4": row, "int8": {**row, "token_ms_p50": 16.0}})
    assert "| int8 |  | 0.5 |" in text


@pytest.mark.parametrize("name", VARIANTS)
def test_each_build_is_one_that_the_pass_makes(name: str) -> None:
    params = GenaiParams(**VARIANTS[name])
    model = ModelInfo(
        ModelKind.HF,
        model_type="llama",
        parameters=1,
        head_dim=64,
        tied=True,
        built_with={"rounded_to": params.grid},
    )
    assert Genai().check(model, params, TargetInfo("x"), "cpu") is None
