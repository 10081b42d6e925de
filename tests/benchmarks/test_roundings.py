"""The figures of `benchmarks/roundings.py`, on matrices whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from roundings import VARIANTS, perplexity, rounding_figures, shown

from paretune.core.device import TargetInfo
from paretune.core.model import ModelInfo, ModelKind
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.options import GenaiParams

SEQUENCES = [[0, 1, 1], [1, 0, 0]]


def _log(probability: float) -> np.ndarray:
    return np.log(np.tile([probability, 1 - probability], (3, 1)))


def test_divergence_agreement_and_perplexity() -> None:
    reference, build = [_log(0.5), _log(0.5)], [_log(0.75), _log(0.75)]
    found = rounding_figures(reference, build, SEQUENCES)
    assert found["kl_per_token"] == pytest.approx(0.5 * math.log(4 / 3))
    assert found["kl_low"] == pytest.approx(found["kl_high"])  # both sequences say the same
    assert found["top1_agreement"] == 1.0
    assert found["perplexity"] == pytest.approx(1 / math.sqrt(0.75 * 0.25))
    assert found["tokens"] == 6
    assert rounding_figures(reference, reference, SEQUENCES)["kl_per_token"] == 0.0


def test_the_first_token_is_given() -> None:
    assert perplexity([_log(0.2)], [[0, 1, 1]]) == pytest.approx(1.25)


def test_speeds_are_relative_to_plain_int4() -> None:
    row = {"perplexity": 9.0, "token_ms_p50": 8.0}
    text = shown({"int4": row, "int8": {**row, "token_ms_p50": 16.0}})
    assert "| int8 |  | 0.5 |" in text


@pytest.mark.parametrize("name", VARIANTS)
def test_each_build_is_one_that_the_pass_makes(name: str) -> None:
    model = ModelInfo(ModelKind.HF, model_type="llama", parameters=1, head_dim=64, tied=True)
    assert Genai().check(model, GenaiParams(**VARIANTS[name]), TargetInfo("x"), "cpu") is None
