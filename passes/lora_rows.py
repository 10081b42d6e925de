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

from paretune.corpus import sequences
from paretune.errors import PassError
from paretune.prompts import answer_ids, prompt_ids

if TYPE_CHECKING:
    from paretune.passes.lora_params import LoraParams

IGNORED = -100
"""Target of a position that the loss leaves out (the value that PyTorch and transformers use)."""

Batch = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One example as tokens.

    Attributes:
        ids: Prompt, answer and end token.
        start: Index of the first token that is to be predicted; at least 1.
    """

    ids: tuple[int, ...]
    start: int


def encode(
    tokenizer: Any, dataset: Any, reference: str, params: LoraParams
) -> tuple[list[Row], int]:
    """Turn a data set into rows of tokens.

    Args:
        tokenizer: The model's.
        dataset: What ``context.data.load`` returned.
        reference: Its name, for messages.
        params: Of these, ``max_length`` and ``loss_on``.

    Returns:
        The rows, and how many prompts were cut (from the left).

    Raises:
        PassError: An answer alone does not fit ``max_length``, or leaves nothing to learn.
    """
    if dataset.corpus is not None:
        return _corpus_rows(tokenizer, dataset, reference), 0
    rows, cut = [], 0
    for example in dataset.examples:
        prompt = prompt_ids(tokenizer, example.prompt, dataset.chat)
        answer = answer_ids(tokenizer, example.answer, dataset.chat)
        room = params.max_length - len(answer)
        if room < min(1, len(prompt)):
            raise PassError(
                f"the answer of row {example.row} of {reference!r} has {len(answer)} "
                f"tokens, and max_length is {params.max_length}",
                hint=f"Set max_length to {len(answer) + 1} or more.",
            )
        if len(prompt) > room:
            prompt, cut = prompt[len(prompt) - room :], cut + 1
        row = Row((*prompt, *answer), 1 if params.loss_on == "all" else max(1, len(prompt)))
        if row.start >= len(row.ids):
            raise PassError(
                f"row {example.row} of {reference!r} has no token to learn from",
                hint="Give it an answer, or remove it.",
            )
        rows.append(row)
    if not rows:
        raise PassError(f"{reference!r} holds no example")
    return rows, cut


def _corpus_rows(tokenizer: Any, dataset: Any, reference: str) -> list[Row]:
    texts = [example.answer for example in dataset.examples]
    found = sequences(texts, tokenizer, dataset.corpus)
    if not found:
        raise PassError(
            f"{reference!r} makes no sequence of {dataset.corpus.max_length} tokens "
            f"({dataset.corpus.strategy} of {len(texts)} texts)",
            hint="Lower max_length in its `corpus:`, or give it more text.",
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
        targets[i, offset + row.start - 1 :] = tokens[row.start :]
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
        keep += range(before + row.start - 1, before + len(row.ids) - 1)
        targets += row.ids[row.start :]
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

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch.
        seed: Of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """Remember the lengths; each iteration is another order."""
        import torch

        self._lengths = lengths
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of one epoch."""
        order = self._shuffled(len(self._lengths))
        order.sort(key=lambda index: self._lengths[index])  # stable: equal lengths stay shuffled
        # The batch that is not full must be the last, or it would move the others' borders.
        size = self._batch_size
        full = len(order) // size
        batches = [order[i * size : (i + 1) * size] for i in range(full)]
        for i in self._shuffled(full):
            yield from batches[i]
        yield from order[full * size :]

    def _shuffled(self, count: int) -> list[int]:
        import torch

        order: list[int] = torch.randperm(count, generator=self._generator).tolist()
        return order
