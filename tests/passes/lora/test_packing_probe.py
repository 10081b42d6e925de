"""Joined examples: whether a model keeps them apart is asked before it is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import PassError
from paretune.core.model import Model
from paretune.models.handle import open_model
from paretune.passes.lora.lora import Lora
from paretune.passes.lora.packing_probe import leak, require_rows_apart
from paretune.passes.lora.rows import Row
from tests.pass_bench import Bench
from tests.tiny_models import _tokenizer

_SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_OPT = {"ffn_dim": 128, "word_embed_proj_dim": 64}
ROW = Row(tuple(range(40, 60)), 1)


def network(kind: str, dtype: str = "float32", **more: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**_SIZES, **more}))
    return made.to(getattr(torch, dtype))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_with_masks_for_joined_rows_are_let_pass(kind: str, dtype: str) -> None:
    assert leak(network(kind, dtype), [ROW]) is None


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("opt", _OPT),  # learned positions, counted over the whole row
        ("bloom", {}),  # ALiBi
        ("lfm2", {"layer_types": ["conv", "full_attention"]}),  # convolutions
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_without_them_are_refused(kind: str, more: Any, dtype: str) -> None:
    made = network(kind, dtype, **more)
    with pytest.raises(PassError, match=f"padding_free: a model of type '{kind}'"):
        require_rows_apart(made, [ROW])


def test_the_model_is_left_in_the_mode_it_was_in() -> None:
    made = network("llama").train()
    require_rows_apart(made, [ROW])
    assert made.training


def test_rows_too_short_to_tell_anything_are_let_pass() -> None:
    assert leak(network("opt", **_OPT), [Row((5, 6), 1)]) is None


def test_a_training_on_joined_rows_is_refused_before_it_starts(
    bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "opt"
    network("opt", **_OPT).save_pretrained(folder)
    _tokenizer(bos=True, chat=False).save_pretrained(folder)
    params = {"train": "tone.train", "r": 2, "max_steps": 1, "target_modules": ["q_proj"]}
    with pytest.raises(PassError, match="does not keep joined examples apart"):
        bench.run(Lora(), open_model(folder), params | {"batching": "padding_free"}, "joined")
    assert bench.run(Lora(), open_model(folder), params, "padded").is_dir()


def test_several_gpus_are_one_device(
    bench: Bench, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: the count of devices is made up, for there is no second GPU here."""
    from torch import nn
    from transformers import Trainer, TrainingArguments

    seen = []
    made, train = TrainingArguments.__post_init__, Trainer.train

    def two(self: Any) -> None:
        made(self)
        assert self.device is not None  # counts them
        self._n_gpu = 2

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((self.args.n_gpu, isinstance(self.model_wrapped, nn.DataParallel)))
        return train(self, *args, **kwargs)

    monkeypatch.setattr(TrainingArguments, "__post_init__", two)
    monkeypatch.setattr(Trainer, "train", watched)
    params = {"train": "tone.train", "r": 2, "max_steps": 1}
    bench.run(Lora(), tiny, params, "two")
    assert seen == [(1, False)]
