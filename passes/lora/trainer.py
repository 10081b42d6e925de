"""The transformers Trainer as the passes that train an adapter use it; for workers only.

What is ours: which examples share a batch, and a held-out loss that does not depend on the batches
it is computed in (the Trainer's own is a mean over batches, not over tokens).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, TrainerState

from paretune.core.checkpoints import Checkpoints
from paretune.core.errors import PassError
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.lora.chunked_loss import ChunkedLoss, find_chunked_loss, mean_loss
from paretune.passes.lora.course import Course
from paretune.passes.lora.distillation import DistilledLoss, distilled_loss
from paretune.passes.lora.example_attention import attend_by_example
from paretune.passes.lora.memory_pages import MemoryPages, memory_pages
from paretune.passes.lora.packing_probe import require_rows_apart
from paretune.passes.lora.params import Dtype, LoraParams
from paretune.passes.lora.rounding import Rounding
from paretune.passes.lora.rows import Batch, LengthGrouped, Row, joined, left_padded
from paretune.passes.lora.state import (
    TRAINER_STATE,
    TrainingState,
    put,
    read_state,
    trained,
    write_state,
)
from paretune.passes.lora.trainer_arguments import trainer_arguments
from paretune.runtimes.matrix_products import quickest_products

Collator = Callable[[Sequence[Row]], Batch]


def train(
    name: str,
    network: Any,
    rows: list[Row],
    held_out: list[Row],
    params: LoraParams,
    context: Context,
    rounding: Rounding | None = None,
) -> Course:
    """Train the adapter of a PEFT model, from a checkpoint if there is one.

    Args:
        name: The pass's, for signs of life.
        network: With the adapter in place.
        rows: To learn from.
        held_out: Whose loss is measured; may be empty.
        params: How.
        context: What the pass runs with.
        rounding: What of the network is rounded, if anything is.

    Raises:
        PassError: A loss became infinite or NaN.
    """
    state = _state_to_continue(context.checkpoints, lengths(params, len(rows))[1], network)
    # The libraries compute in another order: the one that the training began with goes on.
    gain = None if state is None else (lambda: math.inf if state.one_dnn else 0.0)
    with quickest_products(gain) as one_dnn:
        return _train(
            name, network, rows, held_out, params, context, state, rounding, one_dnn=one_dnn
        )


def _train(
    name: str,
    network: Any,
    rows: list[Row],
    held_out: list[Row],
    params: LoraParams,
    context: Context,
    state: TrainingState | None,
    rounding: Rounding | None,
    *,
    one_dnn: bool,
) -> Course:
    if params.batching == "padding_free":
        require_rows_apart(network, rows)
        attend_by_example(network, [*rows, *held_out])
    total, stop = lengths(params, len(rows))
    course = Course(total, stop, params.early_stopping_patience)
    best: dict[str, Any] = {}
    checkpoints = context.checkpoints
    others = (step_of(value, params, len(rows)) for value in checkpoints.stops)
    stays = {stop, total, *others}
    if state is not None:
        course.take(state.course)
        best |= state.group("best")
        context.progress(Progress(name, course.step, stop, "continued from a checkpoint"))
    trainer = AdapterTrainer(
        params,
        state,
        lambda each: checkpoints.save(
            course.step,
            total,
            lambda folder: write_state(folder, each, course.to_json(), best, one_dnn=one_dnn),
            stays=course.ended or course.step in stays,
        ),
        rounding,
        model=network,
        args=trainer_arguments(params, context.scratch, torch.cuda.is_available()),
        train_dataset=rows,
        eval_dataset=held_out or None,
        data_collator=collator(params, network),
        callbacks=[_Watch(name, params, course, context.progress, best, stops=len(stays) > 1)],
    )
    trainer.remove_callback(PrinterCallback)
    if state is not None and course.done:
        state.set_weights(network)
        trainer.state = TrainerState.load_from_json(str(state.folder / TRAINER_STATE))
    else:
        with checkpoints.ending() as ending, memory_pages() as pages:
            trainer.add_callback(_Saving(course, checkpoints, stays, ending))
            if pages is not None and not torch.cuda.is_available():
                trainer.add_callback(
                    _Pages(pages, lambda at, note: context.progress(Progress(name, at, stop, note)))
                )
            trainer.train(resume_from_checkpoint=None if state is None else str(state.folder))
    if held_out and (not course.losses.held_out or course.losses.held_out[-1][0] != course.step):
        ended = course.ended
        trainer.evaluate()
        course.ended = ended  # there was no step left to be spared
    if params.best_checkpoint and course.best is not None and course.best[0] != course.step:
        put(network, best)
    return course


def lengths(params: LoraParams, examples: int) -> tuple[int, int]:
    """Return the optimizer steps of a training's whole length, and the step where it ends."""
    total = step_of(params.length, params, examples)
    stop = total if params.stop_at is None else step_of(params.stop_at, params, examples)
    return total, min(stop, total)


def step_of(length: float, params: LoraParams, examples: int) -> int:
    """Return the optimizer step after a length in the unit of the parameters, as the Trainer does.

    Args:
        length: In steps if `max_steps` is given, else in epochs.
        params: Of the training.
        examples: How many there are to learn from.
    """
    if params.max_steps is not None:
        return int(length)
    batches = math.ceil(examples / params.batch_size)
    return math.ceil(length * max(1, math.ceil(batches / params.gradient_accumulation_steps)))


def dtype_begun(checkpoints: Checkpoints, params: LoraParams, examples: int) -> Dtype | None:
    """Return the precision of the training that will be continued; None: none will be.

    Args:
        checkpoints: Of this training.
        params: How it trains; its ``dtype`` is ``auto``.
        examples: How many there are to learn from.
    """
    for checkpoint in checkpoints.at_most(lengths(params, examples)[1]):
        try:
            return read_state(checkpoint.folder).dtype
        except ValueError:
            continue  # `train` removes it, with a note
    return None


def _state_to_continue(checkpoints: Checkpoints, stop: int, network: Any) -> TrainingState | None:
    """Return the last usable checkpoint; those that are not are removed with a note."""
    for checkpoint in checkpoints.at_most(stop):
        try:
            state = read_state(checkpoint.folder)
            why = state.fits(network)
            if why is None and state.step != checkpoint.place:
                why = "it is of another step"
        except (ValueError, KeyError, TypeError) as error:
            why = str(error)
        if why is None:
            return state
        checkpoints.discard(checkpoint, why)
    return None


class AdapterTrainer(Trainer):  # type: ignore[misc]
    """A Trainer over `Row`s.

    Args:
        params: The pass's parameters.
        state: What it continues from.
        save: Keeps the state of a Trainer.
        rounding: What of the network is rounded.
        **trainer: The Trainer's own arguments.
    """

    def __init__(
        self,
        params: LoraParams,
        state: TrainingState | None,
        save: Callable[[Any], None],
        rounding: Rounding | None,
        **trainer: Any,
    ) -> None:
        self._params = params
        self._begin_at = state
        self._save_state = save
        super().__init__(**trainer)
        probe = self._prepare_inputs(self.data_collator(self.train_dataset[:1]))
        self._loss: ChunkedLoss | DistilledLoss | None = find_chunked_loss(self.model, probe)
        if params.distill:
            self._loss = distilled_loss(self._loss, rounding)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self._params.batching != "length_grouped":
            return super()._get_train_sampler(train_dataset)
        lengths = [len(row.ids) for row in self.train_dataset]
        return LengthGrouped(lengths, self._params.batch_size, self.args.data_seed)

    # The Trainer's own checkpoints are pickles, and not of one moment for all that matters here.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._save_state(self)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._begin_at is not None:
            self._begin_at.set_weights(self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._begin_at is not None:
            self._begin_at.set_optimizer(self.optimizer, self.lr_scheduler)

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self._begin_at is not None:
            self._begin_at.set_scaler(getattr(self.accelerator, "scaler", None))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if self._begin_at is not None:
            self._begin_at.set_random()

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss, without logits in memory where the model allows it."""
        if self._loss is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.accelerator.autocast():
            return self._loss(inputs, num_items_in_batch)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the mean loss of the held-out tokens, whatever batches they are computed in."""
        rows = sorted(self.eval_dataset, key=lambda row: len(row.ids))
        size = self.args.per_device_eval_batch_size
        training = self.model.training
        self.model.eval()
        batches = (
            self._prepare_inputs(self.data_collator(rows[start : start + size]))
            for start in range(0, len(rows), size)
        )
        loss = mean_loss(batches, lambda batch: self.compute_loss(self.model, batch))
        self.model.train(training)
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps the losses, tells them, and ends a training that diverged or gets no better."""

    def __init__(
        self,
        name: str,
        params: LoraParams,
        course: Course,
        progress: Callable[[Progress], None],
        best: dict[str, Any],
        *,
        stops: bool,
    ) -> None:
        self._stops = stops
        self._name = name
        self._every = params.logging_steps
        self._keeps_best = params.best_checkpoint
        self._course = course
        self._progress = progress
        self._best = best

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in (logs or {}):
            return
        step, course = state.global_step, self._course
        course.losses.training.append(_finite(float(logs["loss"]), "loss", step))
        if step % self._every == 0 or step == course.stop:
            last = course.losses.smoothed(self._every)[-1][1]
            self._progress(Progress(self._name, step, course.stop, f"loss {last:.3f}"))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, model: Any = None, **_: Any
    ) -> None:
        step, course = state.global_step, self._course
        loss = _finite(metrics["eval_loss"], "held-out loss", step)
        if course.measured(step, loss) and self._keeps_best:
            self._best.update((name, tensor.clone()) for name, tensor in trained(model))
        if course.ended:
            control.should_training_stop = True
            control.should_save |= self._stops
        note = f"held-out loss {loss:.3f}"
        self._progress(Progress(self._name, step, course.stop, note))


class _Saving(TrainerCallback):  # type: ignore[misc]
    """Says after each step whether its state is saved, and whether the training ends there."""

    def __init__(
        self,
        course: Course,
        checkpoints: Checkpoints,
        stays: Collection[int],
        ending: Callable[[], bool],
    ) -> None:
        self._course = course
        self._checkpoints = checkpoints
        self._stays = stays
        self._ending = ending

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, course = state.global_step, self._course
        ending = self._ending()
        control.should_training_stop |= ending or step >= course.stop
        # What ends at its whole length has its output, unless it must end before that is written.
        passing = step < course.total and (step in self._stays or self._checkpoints.due())
        control.should_save |= ending or passing


class _Pages(TrainerCallback):  # type: ignore[misc]
    """Lets the first steps decide how memory is held, and says what they decided."""

    def __init__(self, pages: MemoryPages, say: Callable[[int, str], None]) -> None:
        self._pages = pages
        self._say = say

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._pages.step_began()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        note = self._pages.step_ended()
        if note is not None:
            print(f"step {state.global_step}: {note}")
            self._say(state.global_step, note)


def _finite(loss: float, what: str, step: int) -> float:
    if not math.isfinite(loss):
        raise PassError(
            f"the {what} became {loss} at step {step}",
            hint="Lower learning_rate, or add warmup_ratio.",
        )
    return loss


def collator(params: LoraParams, network: Any) -> Collator:
    """Return what makes a batch of rows, as `params.batching` says."""
    if params.batching == "padding_free":
        return joined
    pad = getattr(network.config, "pad_token_id", None)
    # What is padded is masked: any token will do where there is none for it (None, or -1).
    return lambda rows: left_padded(rows, pad if type(pad) is int and pad >= 0 else 0)
