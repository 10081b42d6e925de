"""Attention by example computes what the library's does, or is not used."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paretune.passes.lora import example_attention
from paretune.passes.lora.example_attention import ARCHITECTURES, attend_by_example
from paretune.passes.lora.rows import Row, joined
from tests.passes.lora.test_packing_probe import network

ROWS = [Row(tuple(range(start, start + count)), 1) for start, count in ((9, 7), (60, 2), (99, 31))]


def _gradients(made: Any) -> dict[str, Any]:
    made.zero_grad()
    made(**joined(ROWS)).loss.backward()
    return {name: each.grad.clone() for name, each in made.named_parameters()}


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_logits_and_gradients_are_those_of_the_librarys_attention(kind: str) -> None:
    made = network(kind, num_key_value_heads=2).train()
    expected, gradients = made(**joined(ROWS)).logits, _gradients(made)
    assert attend_by_example(made, ROWS)
    assert made.training
    torch.testing.assert_close(made(**joined(ROWS)).logits, expected, atol=1e-5, rtol=1e-5)
    for name, each in _gradients(made).items():
        torch.testing.assert_close(each, gradients[name], atol=1e-5, rtol=1e-4)


def test_no_product_goes_over_the_border_of_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    whole = example_attention.sdpa_attention_forward

    def counted(module: Any, query: Any, key: Any, *more: Any, **named: Any) -> Any:
        seen.append(key.shape[2])
        return whole(module, query, key, *more, **named)

    made = network("llama")
    assert attend_by_example(made, ROWS)
    monkeypatch.setattr(example_attention, "sdpa_attention_forward", counted)
    made(**joined(ROWS))
    assert seen == [7, 2, 31] * made.config.num_hidden_layers


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_precisions_too(dtype: str) -> None:
    assert attend_by_example(network("llama", dtype), ROWS)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("gemma2", {"head_dim": 16}),  # caps its scores
        ("mistral", {"sliding_window": 30}),  # shorter than the longest example
        ("llama", {"attn_implementation": "eager"}),
    ],
)
def test_other_attention_stays_the_librarys(kind: str, more: dict[str, Any]) -> None:
    made = network(kind, **more)
    before = made.config._attn_implementation
    assert not attend_by_example(made, ROWS)
    assert made.config._attn_implementation == before


def test_where_it_says_something_else_the_librarys_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network("llama")
    whole = example_attention._lengths
    monkeypatch.setattr(example_attention, "_lengths", lambda positions: [sum(whole(positions))])
    assert not attend_by_example(made, ROWS)
    assert made.config._attn_implementation == "sdpa"
