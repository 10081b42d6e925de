"""Scales of channels: the network computes the same, and loses less by rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from paretune.models.handle import open_model
from paretune.passes.quantization.channel_scales import groups_of, scale_channels, told
from paretune.passes.quantization.grid import Grid, rounded
from tests.tiny_models import make_small, make_tiny_llama

GRID = Grid(4, 16)
TEXTS = [list(range(3, 60)), list(range(90, 20, -1))]
PHI = {"original_max_position_embeddings": 256}
MAKERS: dict[str, Any] = {
    "Llama": make_tiny_llama,
    "Mistral": lambda folder: make_small(folder, "Mistral"),
    "Phi3": lambda folder: make_small(folder, "Phi3", num_attention_heads=4, **PHI),
    "Qwen2": lambda folder: make_small(folder, "Qwen2"),
    "Qwen3": lambda folder: make_small(folder, "Qwen3"),
}


def _network(folder: Path) -> Any:
    """Return a network some of whose channels are far larger than the others."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("layernorm.weight"):
                parameter.mul_(torch.rand(len(parameter), generator=generator).mul_(3).exp_())
            elif name.endswith("bias"):
                parameter.normal_(0, 0.3, generator=generator)
    return network


def _logits(network: Any) -> Any:
    with torch.no_grad():
        return torch.cat([network(torch.tensor([ids])).logits[0] for ids in TEXTS]).double()


@pytest.mark.parametrize("name", MAKERS)
def test_it_computes_the_same_and_loses_less(name: str, tmp_path: Path) -> None:
    folder = open_model(MAKERS[name](tmp_path)).path
    plain, scaled = _network(folder), _network(folder)
    before = _logits(plain)
    found = scale_channels(scaled, TEXTS, GRID)
    assert len(found) == 4 * 2
    assert any(each.exponent for each in found)
    assert all(each.after <= each.before for each in found)
    assert torch.allclose(_logits(scaled), before, rtol=1e-4, atol=1e-4)
    assert sum(each.after for each in found) < 0.95 * sum(each.before for each in found)


def test_what_nothing_is_better_for_is_left_as_it_is(tmp_path: Path) -> None:
    """Inputs of equal sizes ask for no scales: an exponent of 0 is as good as any."""
    network = _network(make_tiny_llama(tmp_path))
    layer = network.model.layers[0]
    group = next(iter(groups_of(0, layer)))
    assert group.consumers == (
        layer.self_attn.q_proj,
        layer.self_attn.k_proj,
        layer.self_attn.v_proj,
    )
    with torch.no_grad():
        for linear in group.consumers:
            linear.weight.copy_(rounded(linear.weight, GRID))  # loses nothing as it is
    kept = layer.self_attn.q_proj.weight.clone()
    found = scale_channels(network, TEXTS, GRID)
    assert (found[0].exponent, found[0].before) == (0.0, pytest.approx(0.0, abs=1e-6))
    assert torch.equal(layer.self_attn.q_proj.weight, kept)
    shown = told(found)
    assert shown["exponents"]["layers.0.self_attn.qkv"] == 0.0
    assert " of 8 groups" in shown["summary"]
