"""How `lora` trains: examples to rows of tokens, rows to batches, and the Trainer around them.

Most of a small model's work is the head: with 49152 tokens of vocabulary, logits for every token
cost more than all its layers. Here logits are computed where the loss needs them only: batches are
padded on the left, so that answers stand at the right end, and the head sees just those columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.corpus import sequences
from paretune.errors import PassError
from paretune.passes.base import Context, Progress
from paretune.prompts import answer_ids, prompt_ids

if TYPE_CHECKING:
    from paretune.passes.lora import LoraParams

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


def encode(tokenizer: Any, dataset: Any, params: LoraParams) -> tuple[list[Row], int]:
    """Turn a data set into rows of tokens.

    Args:
        tokenizer: The model's.
        dataset: What ``context.data.load`` returned.
        params: Of these, ``max_length`` and ``loss_on``.

    Returns:
        The rows, and how many prompts were cut (from the left).

    Raises:
        PassError: An answer alone does not fit ``max_length``, or leaves nothing to learn.
    """
    if dataset.corpus is not None:
        return _corpus_rows(tokenizer, dataset, params), 0
    rows, cut = [], 0
    for example in dataset.examples:
        prompt = prompt_ids(tokenizer, example.prompt, dataset.chat)
        answer = answer_ids(tokenizer, example.answer)
        room = params.max_length - len(answer)
        if room < min(1, len(prompt)):
            raise PassError(
                f"lora: the answer of row {example.row} of {params.train!r} has {len(answer)} "
                f"tokens, and max_length is {params.max_length}",
                hint=f"Set max_length to {len(answer) + 1} or more.",
            )
        if len(prompt) > room:
            prompt, cut = prompt[len(prompt) - room :], cut + 1
        row = Row((*prompt, *answer), 1 if params.loss_on == "all" else max(1, len(prompt)))
        if row.start >= len(row.ids):
            raise PassError(
                f"lora: row {example.row} of {params.train!r} has no token to learn from",
                hint="Give it an answer, or remove it.",
            )
        rows.append(row)
    if not rows:
        raise PassError(f"lora: {params.train!r} holds no example")
    return rows, cut


def _corpus_rows(tokenizer: Any, dataset: Any, params: LoraParams) -> list[Row]:
    texts = [example.answer for example in dataset.examples]
    found = sequences(texts, tokenizer, dataset.corpus)
    if not found:
        raise PassError(
            f"lora: {params.train!r} makes no sequence of {dataset.corpus.max_length} tokens "
            f"({dataset.corpus.strategy} of {len(texts)} texts)",
            hint="Lower max_length in its `corpus:`, or give it more text.",
        )
    return [Row(sequence.ids, max(1, sequence.context)) for sequence in found]


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


def train(network: Any, rows: list[Row], params: LoraParams, context: Context) -> list[float]:
    """Train the adapter of a PEFT model.

    Returns:
        The loss of each optimizer step.

    Raises:
        PassError: The loss became infinite or NaN.
    """
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    losses: list[float] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" not in (logs or {}):
                return
            loss = float(logs["loss"])
            losses.append(loss)
            if not math.isfinite(loss):
                raise PassError(
                    f"lora: the loss became {loss} at step {state.global_step}",
                    hint="Lower learning_rate, or add warmup_ratio.",
                )
            note = f"loss {loss:.3f}"
            context.progress(Progress("lora", state.global_step, state.max_steps, note))

    class GroupingTrainer(Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            if params.batching != "length_grouped":
                return super()._get_train_sampler(train_dataset)
            return LengthGrouped([len(row.ids) for row in rows], params.batch_size, params.seed)

    trainer = GroupingTrainer(
        model=network,
        args=_arguments(params, context.scratch),
        train_dataset=rows,
        data_collator=_collator(params, network),
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return losses


def _collator(params: LoraParams, network: Any) -> Callable[[Sequence[Row]], Batch]:
    if params.batching == "padding_free":
        return joined
    pad = network.config.pad_token_id
    return lambda rows: left_padded(rows, 0 if pad is None else pad)


def _arguments(params: LoraParams, scratch: Path) -> Any:
    from transformers import TrainingArguments

    # One field of the Trainer's takes both: below one it is a share of the steps.
    warmup = params.warmup_ratio or 0.0 if params.warmup_steps is None else params.warmup_steps
    return TrainingArguments(
        output_dir=str(scratch / "trainer"),
        per_device_train_batch_size=params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler_type,
        warmup_steps=warmup,
        weight_decay=params.weight_decay,
        num_train_epochs=params.epochs or 1.0,
        max_steps=params.max_steps or -1,
        max_grad_norm=params.max_grad_norm,
        seed=params.seed,
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        # fp32 throughout: bfloat16 is 34 times slower on processors without its instructions.
        fp16=False,
        bf16=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )


def save_adapter(network: Any, out: Path) -> None:
    """Write the adapter's weights and configuration; the same adapter gives the same bytes.

    PEFT's own ``save_pretrained`` writes the base model's path and sets in no fixed order.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(network, save_embedding_layers=False)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = network.peft_config["default"].to_dict()
    config.update(base_model_name_or_path=None, inference_mode=True)
    ordered = {
        key: sorted(value) if isinstance(value, set) else value for key, value in config.items()
    }
    text = json.dumps(ordered, indent=2, sort_keys=True, default=str)
    (out / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
