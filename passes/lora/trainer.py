"""The transformers Trainer as the passes that train an adapter use it; for workers only.

What is ours: which examples share a batch, and a held-out loss that does not depend on the batches
it is computed in (the Trainer's own is a mean over batches, not over tokens).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from paretune.core.errors import PassError
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.lora.chunked_loss import find_chunked_loss
from paretune.passes.lora.packing_probe import require_rows_apart
from paretune.passes.lora.params import LoraParams
from paretune.passes.lora.recomputation import keep_products
from paretune.passes.lora.rows import IGNORED, Batch, LengthGrouped, Row, joined, left_padded

Collator = Callable[[Sequence[Row]], Batch]


@dataclass
class Losses:
    """What a training run was seen to do.

    Attributes:
        training: The loss of each optimizer step.
        held_out: (steps done, mean loss of the held-out tokens).
    """

    training: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)

    def smoothed(self, steps: int) -> list[tuple[int, float]]:
        """Return (last step, mean loss) of every so many steps; the last entry may be of fewer."""
        starts = range(0, len(self.training), steps)
        parts = [self.training[start : start + steps] for start in starts]
        return [(start + len(p), sum(p) / len(p)) for start, p in zip(starts, parts, strict=True)]


def train(
    name: str,
    network: Any,
    rows: list[Row],
    held_out: list[Row],
    params: LoraParams,
    context: Context,
) -> Losses:
    """Train the adapter of a PEFT model.

    Args:
        name: The pass's, for signs of life.
        network: With the adapter in place.
        rows: To learn from.
        held_out: Whose loss is measured; may be empty.
        params: How.
        context: What the pass runs with.

    Raises:
        PassError: A loss became infinite or NaN.
    """
    losses = Losses()
    if params.batching == "padding_free":
        require_rows_apart(network, rows)
    trainer = AdapterTrainer(
        params,
        model=network,
        args=_on_one_device(_arguments(params, context.scratch, torch.cuda.is_available())),
        train_dataset=rows,
        eval_dataset=held_out or None,
        data_collator=_collator(params, network),
        callbacks=[_Watch(name, params, losses, context.progress)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if held_out and (not losses.held_out or losses.held_out[-1][0] != trainer.state.global_step):
        trainer.evaluate()
    return losses


class AdapterTrainer(Trainer):  # type: ignore[misc]
    """A Trainer over `Row`s.

    Args:
        params: The pass's parameters.
        **trainer: The Trainer's own arguments.
    """

    def __init__(self, params: LoraParams, **trainer: Any) -> None:
        self._params = params
        super().__init__(**trainer)
        probe = self._prepare_inputs(self.data_collator(self.train_dataset[:1]))
        self._chunked_loss = find_chunked_loss(self.model, probe)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self._params.batching != "length_grouped":
            return super()._get_train_sampler(train_dataset)
        lengths = [len(row.ids) for row in self.train_dataset]
        return LengthGrouped(lengths, self._params.batch_size, self.args.data_seed)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss, without logits in memory where the model allows it."""
        if self._chunked_loss is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():
            return self._chunked_loss(inputs, num_items_in_batch)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the mean loss of the held-out tokens, whatever batches they are computed in."""
        rows = sorted(self.eval_dataset, key=lambda row: len(row.ids))
        size = self.args.per_device_eval_batch_size
        training = self.model.training
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(rows), size):
                batch = self._prepare_inputs(self.data_collator(rows[start : start + size]))
                items = int((batch["shift_labels"] != IGNORED).sum())
                total += float(self.compute_loss(self.model, batch)) * items
                count += items
        self.model.train(training)
        metrics = {f"{metric_key_prefix}_loss": total / count}
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps the losses, tells them, and ends a training that diverged."""

    def __init__(
        self,
        name: str,
        params: LoraParams,
        losses: Losses,
        progress: Callable[[Progress], None],
    ) -> None:
        self._name = name
        self._every = params.logging_steps
        self._losses = losses
        self._progress = progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in (logs or {}):
            return
        step, seen = state.global_step, self._losses.training
        seen.append(_finite(float(logs["loss"]), "loss", step))
        if step % self._every == 0 or step == state.max_steps:
            last = self._losses.smoothed(self._every)[-1][1]
            self._progress(Progress(self._name, step, state.max_steps, f"loss {last:.3f}"))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        step = state.global_step
        loss = _finite(metrics["eval_loss"], "held-out loss", step)
        self._losses.held_out.append((step, loss))
        note = f"held-out loss {loss:.3f}"
        self._progress(Progress(self._name, step, state.max_steps, note))


def _finite(loss: float, what: str, step: int) -> float:
    if not math.isfinite(loss):
        raise PassError(
            f"the {what} became {loss} at step {step}",
            hint="Lower learning_rate, or add warmup_ratio.",
        )
    return loss


def _collator(params: LoraParams, network: Any) -> Collator:
    if params.batching == "padding_free":
        return joined
    pad = getattr(network.config, "pad_token_id", None)
    # What is padded is masked: any token will do where there is none for it (None, or -1).
    return lambda rows: left_padded(rows, pad if type(pad) is int and pad >= 0 else 0)


def _on_one_device(arguments: Any) -> Any:
    """Have the Trainer use one GPU, the first, however many there are.

    With several it would wrap the model in DataParallel, which cuts every tensor of a batch along
    its first axis, ``logits_to_keep`` too.
    """
    if arguments.n_gpu > 1:
        print(f"{arguments.n_gpu} GPUs: the first one trains, for several are not supported")
        arguments._n_gpu = 1
    return arguments


def _arguments(params: LoraParams, scratch: Path, gpu: bool) -> Any:
    # One field of the Trainer's takes both: below one it is a share of the steps.
    warmup = params.warmup_ratio or 0.0 if params.warmup_steps is None else params.warmup_steps
    checkpointing: dict[str, Any] = {"use_reentrant": False}
    if params.gradient_checkpointing == "selective":
        checkpointing["context_fn"] = keep_products
    arguments = TrainingArguments(
        output_dir=str(scratch / "trainer"),
        use_cpu=not gpu,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.eval_batch_size or params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler_type,
        warmup_steps=warmup,
        weight_decay=params.weight_decay,
        adam_beta1=params.adam_beta1,
        adam_beta2=params.adam_beta2,
        adam_epsilon=params.adam_epsilon,
        num_train_epochs=params.epochs or 1.0,
        max_steps=params.max_steps or -1,
        max_grad_norm=params.max_grad_norm,
        seed=params.seed,
        data_seed=params.seed if params.data_seed is None else params.data_seed,
        activation_checkpointing=params.gradient_checkpointing is not False,
        activation_checkpointing_kwargs=checkpointing,
        fp16=params.dtype == "fp16",
        bf16=params.dtype == "bf16",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        eval_strategy="no" if params.eval_steps is None else "steps",
        eval_steps=params.eval_steps,
        # Every step's loss is looked at; `logging_steps` is how many make an entry of the record.
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
    # On several GPUs the Trainer would wrap the model in DataParallel, which cuts every input along
    # its first axis, the positions that the loss is computed at too: one device, until more are
    # supported.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
