"""How an example becomes token ids: once, the same for training, scoring and the package."""

from __future__ import annotations

from typing import Any

from paretune.models.chat_template import answer_end, plain_end, render

# The tokenizer is a transformers PreTrainedTokenizerBase; named Any so that nothing is imported.
Tokenizer = Any


def prompt_text(tokenizer: Tokenizer, prompt: str, chat: bool) -> str:
    """Return the text that is tokenized: the prompt itself, or as the user's turn of a chat.

    Args:
        tokenizer: A transformers tokenizer.
        prompt: The filled-in template.
        chat: True: wrapped by the model's own chat template, up to where the answer begins.

    Raises:
        ChatTemplateError: The model has no chat template, or it refuses the turn.
    """
    if not chat:
        return prompt
    return render(tokenizer, [{"role": "user", "content": prompt}], reply=True)


def prompt_ids(tokenizer: Tokenizer, prompt: str, chat: bool) -> list[int]:
    """Return a prompt's token ids; a chat template brings its own special tokens."""
    text = prompt_text(tokenizer, prompt, chat)
    ids: list[int] = tokenizer(text, add_special_tokens=not chat)["input_ids"]
    return ids


def answer_ids(tokenizer: Tokenizer, answer: str, chat: bool = False) -> list[int]:
    """Return an answer's token ids, tokenized apart from the prompt, with what ends it.

    Args:
        tokenizer: A transformers tokenizer.
        answer: The answer's own text.
        chat: True: it ends as the chat template ends it; else with the end token, if there is one.
    """
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    end = answer_end(tokenizer) if chat else plain_end(tokenizer)
    return [*ids, *end.ids]
