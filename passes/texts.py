"""Texts that a pass runs a model on, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from paretune.core.errors import DataError, PassError
from paretune.core.model import Model
from paretune.data.context import Context
from paretune.data.corpus import sequences
from paretune.data.example_tokens import ExampleEncoder
from paretune.models.context_length import most_tokens

_T = TypeVar("_T")


def token_rows(
    model: Model,
    tokenizer: Any,
    context: Context,
    reference: str | None,
    *,
    own: Sequence[str],
    examples: int,
    max_length: int,
) -> list[list[int]]:
    """Return the token ids of each text of at least two tokens, cut to the model's context.

    Args:
        model: Whose context holds them.
        tokenizer: Its tokenizer.
        context: With the data sets.
        reference: The data set with the texts; None: `own`.
        own: Texts that ship with paretune.
        examples: Most examples of the data set.
        max_length: Most tokens of a text.

    Raises:
        PassError: An example cannot be rendered.
    """
    held = most_tokens(model)
    room = max_length if held is None else min(max_length, held)
    if reference is None:
        found: list[Sequence[int]] = [tokenizer(text)["input_ids"] for text in own]
    else:
        found = _rows(tokenizer, reference, examples, context)
    return [list(ids[:room]) for ids in found if len(ids[:room]) > 1]


def _rows(tokenizer: Any, reference: str, count: int, context: Context) -> list[Sequence[int]]:
    dataset = context.data.load(reference)
    if dataset.corpus is not None:
        texts = [example.answer for example in dataset.examples]
        found = sequences(texts, tokenizer, dataset.corpus)
        return [sequence.ids for sequence in _spread(found, count)]
    encoder = ExampleEncoder(tokenizer, dataset.chat, reference)
    try:
        return [encoder.tokens(each, None).ids for each in _spread(dataset.examples, count)]
    except DataError as error:
        raise PassError(error.message, hint=error.hint) from error


def _spread(items: Sequence[_T], count: int) -> list[_T]:
    """Return so many of a list's items (all, if it has fewer), evenly spread over it."""
    most = min(count, len(items))
    return [items[i * len(items) // most] for i in range(most)]
