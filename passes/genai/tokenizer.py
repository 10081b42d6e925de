"""Compares ONNX Runtime GenAI's tokenizer with the Hugging Face one that the model learned with.

By default `onnxruntime_genai.Tokenizer` adds no special tokens: the ``<s>`` that many models expect
before a text is missing, and nothing in the model's folder can turn it on (tried with 0.18:
``add_bos_token``, each ``tokenizer_class``). What callers need to know stands in
``paretune_tokenizer.json``, which is absent when both agree:

``{"add_special_tokens": true, "prepend": [1]}``
    Call ``tokenizer.update_options(add_special_tokens="true")`` before encoding a plain prompt, or
    put these ids before its tokens. Not for a prompt that went through a chat template.
``{"differs": true, "text": "..."}``
    They differ otherwise, first on this text: take the ids from the Hugging Face tokenizer.
``"chat_differs": "..."``, beside or without the others
    A chat whose user says this text gives other tokens through GenAI's chat template.

A text that holds U+2581, SentencePiece's own mark for a space, is not compared: prompts do not
hold it, and both sides read it differently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, write_json
from paretune.data.context import Context

NOTE = "paretune_tokenizer.json"
"""The file's name, beside ``genai_config.json``."""
_MAX_ADDED = 200
"""Added tokens that are compared, each with and without spaces around it."""

TEXTS = (
    "Once upon a time",
    "a",
    " leading space",
    "trailing space ",
    "two  spaces and   three",
    "a\ttab",
    "a line\nand another\n",
    "\n\nafter two breaks",
    "  \n  mixed",
    "don't can't we'll I'm",
    "UPPER lower MiXeD CamelCase snake_case",
    "1234567890 3.14 1,000",
    "e=mc^2; f(x) -> y != {z} [0] <tag/>",
    "### Text: a phrase\n### The tone is:\n",
    "Zoë's naïve café, Ünïcödé",
    "e\u0301 as two code points",
    "日本語のテキスト",
    "Привет, мир",
    "عربي",
    "emoji 😀 and 👩‍💻",
    "a\u00a0hard space, a\u200bzero one",
    "under_scores __init__ --dashes--",
    "https://example.com/a?b=c&d=%20",
    "The quick brown fox jumps over the lazy dog. " * 4,
)


def note_differences(model: Path, context: Context) -> None:
    """Write ``paretune_tokenizer.json`` into a build if its tokenizer needs a word.

    Args:
        model: The Hugging Face folder that was built.
        context: Its ``out`` is the build.
    """
    from paretune.passes.hugging_face import load_tokenizer

    reference = load_tokenizer(model, context)
    found = compare(reference, context.out) or {}
    differs = None if "differs" in found else chat_difference(reference, context.out)
    if differs is not None:
        found["chat_differs"] = differs
    if found:
        write_json(context.out / NOTE, found, durable=False)


def chat_difference(reference: Any, build: Path) -> str | None:
    """Return the first text that gives other tokens as a user's turn of a chat, or None.

    Args:
        reference: The Hugging Face tokenizer.
        build: Folder with ``genai_config.json`` and the tokenizer's files.
    """
    import json

    import onnxruntime_genai as og

    from paretune.data.prompts import prompt_ids

    if not reference.chat_template:
        return None
    tokenizer = og.Tokenizer(str(build))
    for text in TEXTS:
        try:
            wanted = prompt_ids(reference, text, chat=True)
        except Exception:  # a template may refuse whatever it likes: then nothing is fed at all
            return text
        try:
            turn = json.dumps([{"role": "user", "content": text}])
            shown = tokenizer.apply_chat_template(turn, add_generation_prompt=True)
            if _ids(tokenizer, shown) != wanted:
                return text
        except (RuntimeError, ValueError):  # it reads another dialect of templates
            return text
    return None


def compare(reference: Any, build: Path) -> dict[str, Json] | None:
    """Return what callers must know, or None if both tokenizers agree.

    Args:
        reference: The Hugging Face tokenizer.
        build: Folder with ``genai_config.json`` and the tokenizer's files.
    """
    import onnxruntime_genai as og

    tokenizer = og.Tokenizer(str(build))  # from its files: no weights are loaded
    texts = (*TEXTS, *_around(reference))
    tokenizer.update_options(add_special_tokens="false")
    bare = [_ids(tokenizer, text) for text in texts]
    tokenizer.update_options(add_special_tokens="true")
    full = [_ids(tokenizer, text) for text in texts]
    wanted = [reference(text)["input_ids"] for text in texts]
    plain = [reference(text, add_special_tokens=False)["input_ids"] for text in texts]
    for text, *pair in zip(texts, bare, plain, strict=True):
        if pair[0] != pair[1]:
            return {"differs": True, "text": text}
    if wanted == plain:
        return None
    added = wanted[0][: len(wanted[0]) - len(plain[0])]
    for text, ours, theirs, rest in zip(texts, full, wanted, plain, strict=True):
        if theirs != [*added, *rest] or ours != theirs:
            return {"differs": True, "text": text}
    return {"add_special_tokens": True, "prepend": added}


def _around(reference: Any) -> list[str]:
    """Return texts with the tokens in them that were added to the vocabulary, special or not."""
    known: dict[str, int] = getattr(reference, "get_added_vocab", dict)()
    added = sorted({*known, *reference.all_special_tokens})
    return [
        text
        for token in added[:_MAX_ADDED]
        for text in (f"{token} and text", f"a text {token} inside", f"a{token}b")
    ]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text)]
