"""Models that a test makes in a second: real architecture, real tokenizer, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CORPUS = (
    "the quick brown fox jumps over the lazy dog and runs away from the rain",
    "I am so happy that the sun is out and we can go for a walk today",
    "she was afraid of the dark house at the end of the long road",
    "### Text: what a lovely day\n### The tone is:\njoy sadness fear surprise",
    "numbers 0123456789 and signs .,;:!?'\"()[]{}<>+-*/=_%$#@&",
)
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny_llama(
    folder: Path,
    seed: int = 0,
    *,
    hidden_size: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    tied: bool = True,
    bos: bool = True,
    chat: bool = True,
    dtype: str = "float32",
    positions: int = 256,
    sentencepiece: bool = False,
) -> Path:
    """Write a small Llama with a byte-level BPE tokenizer.

    Args:
        folder: Where to write it; made if it is not there.
        seed: Of the weights.
        hidden_size: Width.
        layers: Decoder layers.
        heads: Attention heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        tied: The embedding and the head share their weights.
        bos: The tokenizer puts ``<s>`` before a text.
        chat: It brings a chat template.
        dtype: Of the saved weights.
        positions: Tokens that its context holds.
        sentencepiece: The tokenizer is as Llama 2's: a prepended space, bytes as a fallback.

    Returns:
        The folder.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(bos=bos, chat=chat, sentencepiece=sentencepiece)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # a fresh model's padding token is all zeros, a trained one's is not
        model.get_input_embeddings().weight[config.pad_token_id].normal_(std=0.1)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tiny_phi3(folder: Path, seed: int = 0) -> Path:
    """Write a small Phi-3: fused projections, no remote code, room for the tutorial's 2048 tokens.

    Args:
        folder: Where to write it; made if it is not there.
        seed: Of the weights.

    Returns:
        The folder.
    """
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(bos=True, chat=True)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    torch.manual_seed(seed)
    Phi3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_small(folder: Path, name: str, **more: Any) -> Path:
    """Write a model of another architecture with the tokenizer of the tiny Llama.

    Its width is no whole number of blocks, unless told otherwise.

    Args:
        folder: Where folders of models are made.
        name: Of the architecture, as transformers begins its classes (``Qwen2``).
        **more: Settings of its configuration, further ones or others.

    Returns:
        Its folder.
    """
    import torch
    import transformers

    source = make_tiny_llama(folder / "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(folder / name)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 80,
        "intermediate_size": 144,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": 0.1,
    }
    config = getattr(transformers, f"{name}Config")(**{**settings, **more})
    torch.manual_seed(0)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder / name)
    return folder / name


def _byte_level(special: list[str]):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(_CORPUS, trainer)
    return inner


def _byte_fallback(special: list[str]):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace()  # no merge across words
    trainer = trainers.BpeTrainer(vocab_size=96, show_progress=False, max_token_length=8)
    learned.train_from_iterator(_CORPUS, trainer)
    model = json.loads(learned.to_str())["model"]
    # As in SentencePiece models, the bytes are in the vocabulary and are no added tokens.
    order = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
    order += sorted(model["vocab"], key=model["vocab"].__getitem__)
    vocab = {token: index for index, token in enumerate(order)}
    merges = [tuple(pair) for pair in model["merges"]]
    inner = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    inner.add_special_tokens(special)
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return inner


def _tokenizer(*, bos: bool, chat: bool, sentencepiece: bool = False):  # type: ignore[no-untyped-def]
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    inner = (_byte_fallback if sentencepiece else _byte_level)(special)
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
    )
    if chat:
        tokenizer.chat_template = _CHAT
    return tokenizer
