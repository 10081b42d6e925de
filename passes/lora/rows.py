"""Examples as rows of tokens, and rows as batches, for the passes that train an adapter.

Most of a small model's work is the head: with 49152 tokens of vocabulary, logits for every token
cost more than all its layers. Here logits are computed where the loss needs them only: batches are
padded on the left, so that answers stand at the right end, and the head sees just those columns.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from paretune.core.errors import DataError, PassError
from paretune.data.corpus import sequences
from paretune.data.example_tokens import ExampleEncoder, TooLongError

if TYPE_CHECKING:
    from paretune.passes.lora.params import LoraParams

IGNORED = -100
"""Target of a position that the loss leaves out (the value that PyTorch and transformers use)."""

Batch = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One example as tokens.

    Attributes:
        ids: Prompt, answer and end token.
        start: Index of the first token that is to be predicted; at least 1.
        spans: Where not all tokens from there on are to be predicted (a conversation's other turns
            are not): those that are, as (begin, end); the first begins at `start`.
    """

    ids: tuple[int, ...]
    start: int
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def learned(self) -> tuple[tuple[int, int], ...]:
        """What is to be predicted, as (begin, end)."""
        return self.spans or ((self.start, len(self.ids)),)

    @property
    def targets(self) -> int:
        """How many tokens are to be predicted."""
        return sum(end - begin for begin, end in self.learned)


def encode(
    tokenizer: Any,
    dataset: Any,
    reference: str,
    params: LoraParams,
    context: int | None = None,
) -> tuple[list[Row], int]:
    """Turn a data set into rows of tokens.

    Args:
        tokenizer: The model's.
        dataset: What ``context.data.load`` returned.
        reference: Its name, for messages.
        params: Of these, ``max_length`` and ``loss_on``.
        context: Tokens that the model's context holds; None: unknown.

    Returns:
        The rows, and how many examples were cut.

    Raises:
        PassError: An example does not fit, however much of its prompt is cut, leaves nothing to
            learn, or is a conversation that the model's template cannot render.
    """
    if dataset.corpus is not None:
        return _corpus_rows(tokenizer, dataset, reference, context), 0
    encoder = ExampleEncoder(tokenizer, dataset.chat, reference)
    room = params.max_length if context is None else min(params.max_length, context)
    rows, cut = [], 0
    for example in dataset.examples:
        row, shorter = encode_one(encoder, example, params.loss_on, room, reference)
        rows.append(row)
        cut += shorter
    if not rows:
        raise PassError(f"{reference!r} holds no example")
    return rows, cut


def encode_one(
    encoder: ExampleEncoder, example: Any, loss_on: str, room: int, reference: str
) -> tuple[Row, bool]:
    """Turn an example into a row of tokens; see `encode`.

    Args:
        encoder: Of the data set.
        example: The example.
        loss_on: ``answer`` or ``all``.
        room: Most tokens.
        reference: The data set's name, for messages.

    Returns:
        The row, and whether it was cut.
    """
    try:
        found = encoder.tokens(example, room)
    except DataError as error:
        told = f"{error.message} (max_length, or the model's context)"
        raise PassError(
            told if isinstance(error, TooLongError) else error.message, hint=error.hint
        ) from error
    spans = tuple((max(1, begin), end) for begin, end in found.spans if end > max(1, begin))
    if loss_on == "all" and len(found.ids) > 1:
        spans = ((1, len(found.ids)),)
    if not spans:
        raise PassError(
            f"{reference}: row {example.row + 1} has no token to learn from",
            hint="Give it an answer, or remove it.",
        )
    whole = len(spans) == 1 and spans[0][1] == len(found.ids)
    return Row(found.ids, spans[0][0], () if whole else spans), found.cut


def _corpus_rows(tokenizer: Any, dataset: Any, reference: str, context: int | None) -> list[Row]:
    texts = [example.answer for example in dataset.examples]
    found = sequences(texts, tokenizer, dataset.corpus)
    if not found:
        raise PassError(
            f"{reference!r} makes no sequence of {dataset.corpus.max_length} tokens "
            f"({dataset.corpus.strategy} of {len(texts)} texts)",
            hint="Lower max_length in its `corpus:`, or give it more text.",
        )
    longest = max(len(sequence.ids) for sequence in found)
    if context is not None and longest > context:
        raise PassError(
            f"{reference!r} makes a sequence of {longest} tokens, and the model's context holds "
            f"{context}",
            hint=f"Set max_length in its `corpus:` to {context} or less.",
        )
    return [Row(sequence.ids, max(1, sequence.context)) for sequence in found]


def hold_out(rows: list[Row], size: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Take some rows out at random; both parts keep their order.

    Args:
        rows: All of them.
        size: How many, or which share of them if it is below 1 (rounded up).
        seed: Another seed takes others.

    Returns:
        What is left to train on, and what was taken out.

    Raises:
        PassError: Nothing would be left.
    """
    count = ceil(size * len(rows)) if size < 1 else int(size)
    if count >= len(rows):
        raise PassError(
            f"eval_dataset_size {size:g} leaves none of {len(rows)} examples to train on",
            hint=f"Hold out at most {len(rows) - 1}.",
        )
    taken = set(random.Random(seed).sample(range(len(rows)), count))
    kept = [row for i, row in enumerate(rows) if i not in taken]
    return kept, [row for i, row in enumerate(rows) if i in taken]


def left_padded(rows: Sequence[Row], pad: int) -> Batch:
    """Return a batch of rows, padded on the left.

    The targets stand under the token before (``shift_labels``), and only the columns from the
    first one that any row learns from are computed (``logits_to_keep``).
    """
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    targets = torch.full((len(rows), width - 1), IGNORED)
    for i, row in enumerate(rows):
        offset = width - len(row.ids)
        tokens = torch.tensor(row.ids)
        ids[i, offset:] = tokens
        mask[i, offset:] = 1
        for begin, end in row.learned:
            targets[i, offset + begin - 1 : offset + end - 1] = tokens[begin:end]
    first = min(width - len(row.ids) + row.start - 1 for row in rows)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
        **_learned(targets[:, first:].contiguous(), torch.arange(first, width - 1)),
    }


def joined(rows: Sequence[Row]) -> Batch:
    """Return a batch as one row without padding.

    Positions start at 0 with each example; without an attention mask, transformers takes that as
    the border that no attention crosses.
    """
    import torch

    ids: list[int] = []
    positions: list[int] = []
    keep: list[int] = []
    targets: list[int] = []
    for row in rows:
        before = len(ids)
        ids += row.ids
        positions += range(len(row.ids))
        for begin, end in row.learned:
            keep += range(before + begin - 1, before + end - 1)
            targets += row.ids[begin:end]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        **_learned(torch.tensor([targets]), torch.tensor(keep)),
    }


def _learned(targets: Any, keep: Any) -> Batch:
    # `labels` makes the model compute a loss; `shift_labels` is what it and the Trainer's count of
    # targets go by. With a cache, transformers would not see the borders of joined rows.
    return {
        "labels": targets,
        "shift_labels": targets,
        "logits_to_keep": keep,
        "use_cache": False,
    }


class LengthGrouped:
    """A sampler: examples of about the same length share a batch; batches come in random order.

    transformers' own goes from the longest to the shortest within 50 batches, which is most of an
    epoch here: the last, finest steps would see short examples only.

    Where the examples do not fill all batches, those of the last one, which is smaller, are drawn
    at random from all: each example has the same chance of each place in the epoch, and so the same
    expected weight, however long it is.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch.
        seed: Of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """Remember the lengths; each iteration is another epoch, with another order."""
        import torch

        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn = 0  # epochs
        self._epoch = 0

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Have the next iteration be that epoch, from 0 on."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of one epoch."""
        if self._drawn > self._epoch:
            self._generator.manual_seed(self._seed)
            self._drawn = 0
        while self._drawn < self._epoch:  # one stream of random numbers goes through all epochs
            self._draw()
        order, places = self._draw()
        self._epoch += 1
        size = self._batch_size
        full = len(places)
        # The batch that is not full must come last, or it would move the others' borders.
        grouped, rest = order[: full * size], order[full * size :]
        grouped.sort(key=lambda index: self._lengths[index])  # stable: equal lengths stay shuffled
        for i in places:
            yield from grouped[i * size : (i + 1) * size]
        yield from rest

    def _draw(self) -> tuple[list[int], list[int]]:
        """Return the next epoch's order of examples, and that of its full batches."""
        self._drawn += 1
        count = len(self._lengths)
        return self._shuffled(count), self._shuffled(count // self._batch_size)

    def _shuffled(self, count: int) -> list[int]:
        import torch

        order: list[int] = torch.randperm(count, generator=self._generator).tolist()
        return order
