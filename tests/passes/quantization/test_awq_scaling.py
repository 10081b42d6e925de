"""The pass `awq_scaling`: the same model with other scales inside, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paretune.core.candidate import Step
from paretune.core.errors import PassError
from paretune.core.model import Model, ModelKind
from paretune.models.handle import inspect, open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.layers.drop_layers import DropLayers
from paretune.passes.quantization.awq_scaling import AwqScaling, AwqScalingParams
from paretune.passes.quantization.sensitivity import SensitivityPass
from paretune.passes.quantization.sensitivity_file import FILE
from paretune.testing.passes import TARGET, check_pass, example
from tests.pass_bench import Bench, generate, logits

TOKENS = [1, 7, 30, 42, 9, 64, 5, 17]


def test_what_is_built_from_it_in_fp32_computes_the_same(bench: Bench, tiny: Model) -> None:
    out = bench.run(AwqScaling(), tiny, {}, "scaled")
    found = inspect(out)
    assert (found.parameters, found.precision) == (inspect(tiny.path).parameters, "fp32")
    assert (out / "tokenizer.json").is_file()
    assert any(bench.contexts["scaled"].details["exponents"].values())
    built = [
        logits(bench.run(Genai(), model, {"precision": "fp32"}, name), TOKENS)
        for name, model in (("of it", open_model(out)), ("of the source", tiny))
    ]
    assert np.allclose(*built, rtol=1e-3, atol=1e-4)


def test_sensitivity_and_gptq_follow(bench: Bench, tiny: Model) -> None:
    scaled = open_model(bench.run(AwqScaling(), tiny, {}, "scaled"))
    measured = open_model(bench.run(SensitivityPass(), scaled, {}, "measured"))
    params = {"precision": "int4", "algorithm": "gptq", "budget": 0.3}
    assert len(generate(bench.run(Genai(), measured, params, "built"), TOKENS)) == 3


@pytest.mark.parametrize(("pass_", "params"), [(AwqScaling(), {}), (DropLayers(), {"layers": 1})])
def test_what_was_measured_of_other_weights_is_not_taken_along(
    bench: Bench, tiny: Model, pass_: Any, params: dict[str, Any]
) -> None:
    measured = open_model(bench.run(SensitivityPass(), tiny, {}, "measured"))
    changed = open_model(bench.run(pass_, measured, params, "changed"))
    assert not (changed.path / FILE).exists()
    with pytest.raises(PassError, match=rf"budget needs {FILE}"):
        bench.run(Genai(), changed, {"precision": "int4", "budget": 0.5}, "built")


def test_next_is_the_grid_of_the_genai_that_follows() -> None:
    ahead, asked = AwqScaling().look_ahead, {"rounded_to": "next"}
    eight = Step("genai", {"precision": "int8", "block_size": 64, "is_symmetric": False})
    grid = {"bits": 8, "block_size": 64, "is_symmetric": False}
    assert ahead(asked, [Step("sensitivity", {}), eight]) == {"rounded_to": grid}
    assert ahead({"examples": 3}, [eight]) == {"examples": 3}
    assert "rounds no matrix" in str(ahead(asked, [Step("genai", {"precision": "fp32"})]))
    assert "found merge" in str(ahead(asked, [Step("merge", {}), eight]))
    assert "found none" in str(ahead(asked, []))
    assert "are refused" in str(ahead(asked, [Step("genai", {"r": 1})]))


def test_what_it_cannot_scale_is_refused(bench: Bench, tiny: Model) -> None:
    model, params = example(ModelKind.HF), AwqScalingParams()
    check = AwqScaling().check
    assert check(model, params, TARGET, "cpu") is None
    assert "'gemma2'" in str(check(replace(model, model_type="gemma2"), params, TARGET, "cpu"))
    assert check(replace(model, quantized="gptq"), params, TARGET, "cpu") is not None
    with pytest.raises(PassError, match="there is no recipe"):
        bench.run(AwqScaling(), tiny, {"rounded_to": "next"}, "next")


def test_it_keeps_the_contract_of_a_pass(tiny: Model) -> None:
    check_pass("awq_scaling", {"max_length": 16}, model=tiny.path)
