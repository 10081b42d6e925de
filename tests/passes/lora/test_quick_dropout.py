"""Dropout with quick random numbers: the right share, no bias, and the same state the same mask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.model import Model

SIZE = 200_000


def _dropped(share: float, inputs: Any, seed: int = 0) -> Any:
    import torch

    from paretune.passes.lora.quick_dropout import QuickDropout

    torch.manual_seed(seed)
    return QuickDropout(share).train()(inputs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_rest_is_scaled(share: float, dtype: str) -> None:
    import torch

    inputs = torch.ones(4, SIZE // 4, dtype=getattr(torch, dtype))
    found = _dropped(share, inputs)
    assert found.dtype == inputs.dtype
    assert found.shape == inputs.shape
    gone = int((found == 0).sum())
    spread = (SIZE * share * (1 - share)) ** 0.5
    assert abs(gone - SIZE * share) < 5 * spread
    (kept,) = found[found != 0].unique().tolist()
    assert kept == pytest.approx(1 / (1 - share), rel=torch.finfo(found.dtype).eps + 1e-4)


def test_neighbours_and_rows_are_independent() -> None:
    """A generator of 64 bits decides on four elements: none of them follows from another."""
    import torch

    gone = (_dropped(0.5, torch.ones(SIZE)) == 0).double() - 0.5
    for lag in (*range(1, 9), 576, 2048):
        together = float((gone[:-lag] * gone[lag:]).mean()) / 0.25
        assert abs(together) < 5 / SIZE**0.5, lag


def test_each_place_of_a_draw_has_the_share() -> None:
    import torch

    gone = (_dropped(0.1, torch.ones(SIZE)) == 0).double().view(-1, 4).mean(0)
    assert gone.tolist() == pytest.approx([0.1] * 4, abs=5 * (0.09 / (SIZE / 4)) ** 0.5)


def test_masks_go_by_the_state_of_pytorchs_generator_alone() -> None:
    import numpy as np
    import torch

    from paretune.passes.lora.quick_dropout import QuickDropout

    drop, inputs = QuickDropout(0.3).train(), torch.ones(1000)
    torch.manual_seed(5)
    one, other = drop(inputs), drop(inputs)
    assert not torch.equal(one, other)
    np.random.seed(1)
    torch.manual_seed(5)
    assert torch.equal(one, drop(inputs))
    state = torch.random.get_rng_state()
    assert torch.equal(other, drop(inputs))
    torch.random.set_rng_state(state)
    assert torch.equal(other, drop(inputs))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=3), st.floats(0, 1, exclude_max=True))
def test_any_shape_and_any_share(shape: list[int], share: float) -> None:
    import torch

    inputs = torch.full(shape, 3.0, requires_grad=True)
    found = _dropped(share, inputs)
    assert found.shape == inputs.shape
    assert torch.isfinite(found).all()
    if found.numel():
        (gradient,) = torch.autograd.grad(found.sum(), inputs)
        torch.testing.assert_close(gradient * 3.0, found)  # what is dropped has no gradient


@pytest.mark.parametrize("share", [0.0, 1e-6])
def test_nothing_is_dropped_where_nothing_can_be(share: float) -> None:
    import torch

    inputs = torch.ones(50)
    assert _dropped(share, inputs) is inputs


def test_only_while_training() -> None:
    import torch

    from paretune.passes.lora.quick_dropout import QuickDropout

    inputs = torch.ones(50)
    assert QuickDropout(0.5).eval()(inputs) is inputs


def test_inputs_that_lie_in_another_order() -> None:
    import torch

    inputs = torch.arange(1, 13.0).view(3, 4).t()
    found = _dropped(0.5, inputs)
    kept = found != 0
    torch.testing.assert_close(found[kept], 2 * inputs[kept])
    assert not kept.all()


def test_of_a_network_only_the_adapters_dropout_is_replaced(tiny: Model) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from paretune.passes.lora.quick_dropout import QuickDropout, draw_quickly

    network: Any = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    network.model.extra = torch.nn.Dropout(0.1)
    config = LoraConfig(task_type="CAUSAL_LM", r=2, lora_dropout=0.2, target_modules=["q_proj"])
    adapted = get_peft_model(network, config)
    names = set(adapted.state_dict())
    draw_quickly(adapted)
    kinds = {name: type(module) for name, module in adapted.named_modules()}
    assert kinds["base_model.model.model.extra"] is torch.nn.Dropout
    dropouts = [kind for name, kind in kinds.items() if name.endswith("lora_dropout.default")]
    assert dropouts
    assert set(dropouts) == {QuickDropout}
    assert set(adapted.state_dict()) == names


def test_without_dropout_there_is_nothing_to_replace(tiny: Model) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from paretune.passes.lora.quick_dropout import QuickDropout, draw_quickly

    network: Any = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    adapted = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    draw_quickly(adapted)
    assert not any(isinstance(module, QuickDropout) for module in adapted.modules())
