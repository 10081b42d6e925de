"""Selective checkpointing computes what is cheap twice, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.core.model import Model
from paretune.passes.lora import recomputation
from paretune.passes.lora.recomputation import keep_products


def _counts(model: Model, checkpointing: dict[str, Any] | None) -> tuple[dict[str, int], list[Any]]:
    """Return how often each kind of operation ran in one step, and the adapter's gradients."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils._python_dispatch import TorchDispatchMode
    from transformers import AutoModelForCausalLM

    from paretune.passes.lora.quick_dropout import draw_quickly

    seen = {"product": 0, "attention": 0, "activation": 0, "dropout": 0}
    kinds = {
        "aten.mm.default": "product",
        "aten.silu.default": "activation",
        "paretune.keep_mask.default": "dropout",
        "aten._scaled_dot_product_flash_attention_for_cpu.default": "attention",
    }

    class Count(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kind = kinds.get(str(func))
            if kind == "product" and args[0].shape[-1] < 16:
                kind = None  # an adapter's way back up: rank 4
            if kind is not None:
                seen[kind] += 1
            return func(*args, **(kwargs or {}))

    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    torch.manual_seed(0)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_dropout=0.2,
        init_lora_weights=False,
        target_modules="all-linear",
    )
    network = get_peft_model(network, config).train()
    draw_quickly(network)
    network.enable_input_require_grads()  # as checkpointing does: the same products in each case
    if checkpointing is not None:
        network.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, **checkpointing}
        )
    ids = torch.tensor([[1, 40, 41, 50, 7, 99, 3, 4]])
    torch.manual_seed(1)
    with Count():
        network(ids, labels=ids, use_cache=False).loss.backward()
    return seen, [p.grad for p in network.parameters() if p.requires_grad]


def test_products_attention_and_masks_once_the_rest_twice(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(recomputation, "_LONG_SUM", 16)  # the tiny model's layers are 64 wide
    plain, gradients = _counts(tiny, None)
    chosen, same = _counts(tiny, {"context_fn": keep_products})
    full, again = _counts(tiny, {})
    assert chosen["product"] == plain["product"] < full["product"]
    assert chosen["attention"] == plain["attention"] < full["attention"]
    assert chosen["activation"] == 2 * plain["activation"]
    assert chosen["dropout"] == plain["dropout"] < full["dropout"]
    for found in (same, again):
        for one, other in zip(gradients, found, strict=True):
            torch.testing.assert_close(one, other)  # masks are kept, or drawn again the same
