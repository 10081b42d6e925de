"""What `benchmarks/roundings.py` builds, and how it shows it."""

from __future__ import annotations

import pytest
from fronting.measuring import token_figures
from roundings import VARIANTS, shown

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams


def test_speeds_are_relative_to_plain_int4() -> None:
    times = {"int4": [0.008, 0.008], "int8": [0.016, 0.012]}
    rows = {
        name: {"perplexity": 9.0, **token_figures(each, times["int4"])}
        for name, each in times.items()
    }
    assert "| int8 |  | 0.58 (0.50 to 0.67) |" in shown(rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_build_is_one_that_the_pass_makes(name: str) -> None:
    params = GenaiParams(**VARIANTS[name])
    model = ModelInfo(
        ModelKind.HF,
        model_type="llama",
        parameters=1,
        head_dim=64,
        tied=True,
        built_with={"rounded_to": {**params.grid, "algorithm": params.algorithm}},
    )
    assert Genai().check(model, params, TargetInfo("x"), "cpu") is None
