"""How an example becomes token ids: once, the same for training, scoring and the package."""

from __future__ import annotations

from typing import Any

# The tokenizer is a transformers PreTrainedTokenizerBase; named Any so that nothing is imported.
Tokenizer = Any


def prompt_text(tokenizer: Tokenizer, prompt: str, chat: bool) -> str:
    """Return the text that is tokenized: the prompt itself, or as the user's turn of a chat.

    Args:
        tokenizer: A transformers tokenizer.
        prompt: The filled-in template.
        chat: True: wrapped by the model's own chat template, up to where the answer begins.
    """
    if not chat:
        return prompt
    turn = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return text


def prompt_ids(tokenizer: Tokenizer, prompt: str, chat: bool) -> list[int]:
    """Return a prompt's token ids; a chat template brings its own special tokens."""
    text = prompt_text(tokenizer, prompt, chat)
    ids: list[int] = tokenizer(text, add_special_tokens=not chat)["input_ids"]
    return ids


def answer_ids(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Return an answer's token ids, tokenized apart from the prompt, with the end token."""
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    return ids if end is None else [*ids, end]
