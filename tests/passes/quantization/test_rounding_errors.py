"""What rounding changes in each matrix, to the nearest and by GPTQ."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from paretune.core.model import Model
from paretune.passes.quantization.gptq import quantized
from paretune.passes.quantization.grid import Grid, decode
from paretune.passes.quantization.rounding_errors import Errors, gptq_errors, nearest_errors
from paretune.passes.quantization.sensitivity_file import HEAD_NAME

GRIDS = [Grid(4, 32), Grid(8, 32)]
TEXTS = [list(range(3, 60)), list(range(90, 20, -1))]
NAME, PATH = "/model/layers.1/mlp/up_proj", "model.layers.1.mlp.up_proj"


@pytest.fixture
def network(tiny: Model) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32).eval()


@pytest.fixture
def by_gptq(network: Any) -> dict[str, Errors]:
    return gptq_errors(network, TEXTS, GRIDS, 0.01)


def _inputs(network: Any, path: str) -> Any:
    """Return what a linear layer gets of all texts, run as a whole."""
    seen: list[Any] = []
    module = network.get_submodule(path)
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, -2)))
    with torch.no_grad():
        for ids in TEXTS:
            network(torch.tensor([ids]), use_cache=False)
    hook.remove()
    return torch.cat(seen)


def test_those_of_gptq_are_of_the_inputs_in_full_precision(
    network: Any, by_gptq: dict[str, Errors]
) -> None:
    inputs, weight = _inputs(network, PATH), network.get_submodule(PATH).weight.detach()
    for grid in GRIDS:
        rounded = decode(quantized(weight, grid, inputs.t() @ inputs, 0.01))
        found = by_gptq[NAME][grid.bits].float()
        # Sums in another order may round a few weights to the neighbouring code.
        assert ((found - (rounded - weight)).abs() < 1e-3).float().mean() > 0.98


def test_gptq_changes_the_outputs_less(network: Any, by_gptq: dict[str, Errors]) -> None:
    nearest = nearest_errors(network, GRIDS)
    assert by_gptq.keys() == nearest.keys()
    for name, path in ((NAME, PATH), (HEAD_NAME, "lm_head")):
        inputs = _inputs(network, path)
        for bits in (4, 8):
            less, more = (
                float((inputs @ each[name][bits].float().t()).square().sum())
                for each in (by_gptq, nearest)
            )
            assert 0 < less < more


def test_the_network_is_left_as_it_was(network: Any, tiny: Model) -> None:
    gptq_errors(network, TEXTS, GRIDS, 0.01)
    again = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    ids = torch.tensor([TEXTS[0]])
    with torch.no_grad():
        assert torch.equal(network(ids).logits, again.eval()(ids).logits)
