"""The loss by chunks against the ordinary one: the same number, the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.model import Model
from paretune.passes.lora import chunked_loss
from paretune.passes.lora.chunked_loss import chunked_cross_entropy, find_chunked_loss
from paretune.passes.lora.rows import IGNORED, Row, joined, left_padded

ROWS = (
    Row((1, 40, 41, 42, 43, 7, 8, 2), 5),
    Row((1, 50, 9, 2), 2),
    Row((1, 60, 61, 62, 63, 64, 65, 66, 67, 10, 2), 9),
)


def _network(model: Model) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)


def _adapted(model: Model, **config: Any) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    given = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **config}
    return get_peft_model(_network(model), LoraConfig(task_type="CAUSAL_LM", **given))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 7), st.integers(2, 40)),
    bias=st.booleans(),
    chunk=st.integers(1, 200),
    ignored=st.floats(0, 0.9),
    items=st.none() | st.integers(1, 50),
    seed=st.integers(0, 10_000),
)
def test_same_loss_and_gradient_for_any_shape(
    shape: tuple[int, int, int, int],
    bias: bool,
    chunk: int,
    ignored: float,
    items: int | None,
    seed: int,
) -> None:
    import torch
    from torch.nn.functional import cross_entropy, linear

    rows, columns, width, vocabulary = shape
    torch.manual_seed(seed)
    hidden = torch.randn(rows, columns, width, dtype=torch.float64).float().requires_grad_()
    weight = 3 * torch.randn(vocabulary, width)
    offset = torch.randn(vocabulary) if bias else None
    targets = torch.randint(vocabulary, (rows, columns))
    targets[torch.rand(rows, columns) < ignored] = IGNORED
    targets[0, 0] = 0  # at least one to learn from
    same = hidden.detach().clone().requires_grad_()
    logits = linear(same, weight, offset).view(-1, vocabulary)
    total = cross_entropy(logits, targets.view(-1), ignore_index=IGNORED, reduction="sum")
    expected = total / (int((targets != IGNORED).sum()) if items is None else items)
    expected.backward()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_loss, "_CHUNK", chunk)
        found = chunked_cross_entropy(hidden, weight, offset, targets, items)
        found.backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(hidden.grad, same.grad, rtol=1e-4, atol=1e-5)


def test_large_logits_neither_overflow_nor_lose_the_loss() -> None:
    import torch

    hidden = torch.tensor([[300.0, 0.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = chunked_cross_entropy(hidden, weight, None, torch.tensor([1]))
    loss.backward()
    assert float(loss.detach()) == 600.0
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[2.0, 0.0]]


def test_never_more_logits_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    sizes: list[int] = []

    def watched(*args: Any) -> Any:
        logits = torch.nn.functional.linear(*args)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(chunked_loss, "linear", watched)
    monkeypatch.setattr(chunked_loss, "_CHUNK", 100)
    hidden = torch.randn(33, 4, requires_grad=True)
    chunked_cross_entropy(hidden, torch.randn(20, 4), None, torch.zeros(33, dtype=torch.long))
    assert sizes == [100] * 6 + [60]


@pytest.mark.parametrize("collate", [lambda rows: left_padded(rows, 2), joined])
def test_same_gradients_of_every_adapter(tiny: Model, collate: Callable[..., Any]) -> None:
    """Two batches of one optimizer step: both divided by the targets of the two."""
    import torch

    network = _adapted(tiny)
    batches = [collate(ROWS), collate(ROWS[:1])]
    items = sum((batch["shift_labels"] != IGNORED).sum() for batch in batches)
    by_chunks = find_chunked_loss(network, batches[0])
    assert by_chunks is not None
    found = []
    for loss in (by_chunks, lambda batch, n: network(**batch, num_items_in_batch=n).loss):
        network.zero_grad()
        losses = [loss(batch, items) for batch in batches]
        total = sum(losses)
        total.backward()
        adapter = [p.grad.clone() for p in network.parameters() if p.requires_grad]
        found.append((float(total.detach()), adapter))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert len(found[0][1]) == 28
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_looking_for_it_changes_neither_mode_nor_random_numbers(tiny: Model) -> None:
    import torch

    network = _adapted(tiny, lora_dropout=0.5).train()
    before = torch.get_rng_state()
    assert find_chunked_loss(network, left_padded(ROWS, 2)) is not None
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


def _capped(network: Any) -> None:
    """Logits that a model changes after its head, as Gemma 2 and Cohere do."""
    whole = network.get_base_model()
    plain = whole.forward

    def forward(**inputs: Any) -> Any:
        out = plain(**inputs)
        out.logits = 30 * (out.logits / 30).tanh()
        return out

    whole.forward = forward


def _further_loss(network: Any) -> None:
    """A loss beside the tokens', as a mixture of experts may have."""
    whole = network.get_base_model()
    plain = whole.forward

    def forward(**inputs: Any) -> Any:
        out = plain(**inputs)
        out.loss = out.loss + 0.1
        return out

    whole.forward = forward


def _trained_head(network: Any) -> None:
    network.get_base_model().get_output_embeddings().weight.requires_grad_(True)


@pytest.mark.parametrize("change", [_capped, _further_loss, _trained_head])
def test_ordinary_path_where_the_model_does_more(
    tiny: Model, change: Callable[[Any], None]
) -> None:
    network = _adapted(tiny)
    batch = left_padded(ROWS, 2)
    assert find_chunked_loss(network, batch) is not None
    change(network)
    assert find_chunked_loss(network, batch) is None


def test_ordinary_path_where_the_head_has_an_adapter(tmp_path_factory: Any) -> None:
    from paretune.models.handle import open_model
    from tests.tiny_models import make_tiny_llama

    untied = open_model(make_tiny_llama(tmp_path_factory.mktemp("untied"), tied=False))
    network = _adapted(untied, target_modules=["q_proj", "lm_head"])
    assert find_chunked_loss(network, left_padded(ROWS, 2)) is None


@pytest.mark.parametrize("architecture", ["Gemma2", "Granite", "Cohere", "GPT2", "OPT", "Phi3"])
def test_architectures(architecture: str) -> None:
    """Of those that change their logits none is taken; of the rest, the loss is the model's own."""
    import torch
    import transformers

    small = {
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    more = {
        "Gemma2": {"num_key_value_heads": 1, "head_dim": 16},
        "Granite": {"logits_scaling": 8.0},
        "Cohere": {"logit_scale": 0.0625},
        "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    }
    config = getattr(transformers, f"{architecture}Config")(**small, **more.get(architecture, {}))
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config).eval()
    network.requires_grad_(False)
    batch = joined(ROWS[:1]) if architecture == "GPT2" else left_padded(ROWS[:1], 0)
    if architecture == "OPT":
        del batch["position_ids"]
    found = find_chunked_loss(network, batch)
    assert (found is None) == (architecture in more and architecture != "OPT")
    if found is not None:
        with torch.no_grad():
            assert float(found(batch)) == pytest.approx(float(network(**batch).loss), rel=1e-5)
