"""Encoders and vision models of Hugging Face that a test makes in a moment, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VOCABULARY = 50
_TEXT = {"vocab_size": VOCABULARY, "max_position_embeddings": 160}


def _configurations() -> dict[str, tuple[str, Any]]:
    from transformers import BertConfig, DistilBertConfig, ResNetConfig, ViTConfig

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {
        "bert": (
            "BertForSequenceClassification",
            BertConfig(**_TEXT, **small, intermediate_size=32, num_labels=3),
        ),
        "distilbert": (
            "DistilBertModel",
            DistilBertConfig(**_TEXT, dim=16, n_layers=1, n_heads=2, hidden_dim=32),
        ),
        "vit": (
            "ViTForImageClassification",
            ViTConfig(**small, intermediate_size=32, image_size=16, patch_size=8, num_labels=3),
        ),
        "resnet": (
            "ResNetForImageClassification",
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3),
        ),
    }


def make_tiny_encoder(folder: Path, name: str, seed: int = 0) -> Path:
    """Write a checkpoint as ``save_pretrained`` does; returns the folder.

    Args:
        folder: Where to write it; made if it is not there.
        name: ``bert`` (text classification), ``distilbert`` (features), ``vit`` or ``resnet``
            (image classification).
        seed: Of the weights.
    """
    import torch
    import transformers

    architecture, config = _configurations()[name]
    torch.manual_seed(seed)
    network = getattr(transformers, architecture)(config)
    for each in network.modules():
        if isinstance(each, torch.nn.Linear):
            torch.nn.init.normal_(each.weight, std=0.5)
    network.save_pretrained(folder)
    if name in ("bert", "distilbert"):
        vocabulary = {f"w{i}": i for i in range(VOCABULARY)}
        types = ["token_type_ids"] if name == "bert" else []
        write_tokenizer(folder, vocabulary, ["input_ids", *types, "attention_mask"])
    if name == "resnet":
        size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps({"image_processor_type": "ConvNextImageProcessor", **size}))
    return folder


def write_tokenizer(folder: Path, vocabulary: dict[str, int], makes: list[str]) -> None:
    """Write a tokenizer of whole words, which makes inputs of these names."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w0", pad_token="w1", model_input_names=makes
    ).save_pretrained(folder)
