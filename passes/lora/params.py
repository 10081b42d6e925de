"""The parameters of `lora`; names and meanings are PEFT's and the transformers Trainer's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from paretune.core import params as declared
from paretune.core.params import parameter
from paretune.passes.quantization.rounding_grid import RoundingGrid

Dtype = Literal["fp32", "bf16", "fp16"]
"""A number format to compute in."""
AUTO: Literal["auto"] = "auto"
"""The `dtype` that is chosen by a measurement (`paretune.passes.lora.auto_precision`)."""

# Of the Trainer's schedules, those that need no further argument.
Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
]
_WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau")
_GO_BY_HELD_OUT = ("early_stopping_patience", "best_checkpoint")
_ADDED = ("stop_at", *_GO_BY_HELD_OUT, "quantize_for", "distill")
"""Parameters that are left out of cache keys where they are not given."""
_ONE_OF = (
    ("epochs", "max_steps"),
    ("warmup_ratio", "warmup_steps"),
    ("eval_data", "eval_dataset_size"),
)


class LoraParams(declared.Params):
    """What `lora` learns from, how, and in which precision."""

    precision_fields: ClassVar[tuple[str, ...]] = ("dtype",)
    """The parameters that `precisions` depends on."""

    stops_at: ClassVar[str] = "stop_at"
    """The parameter that says where a run stops, so that others can continue from there."""

    seeded_by: ClassVar[str] = "seed"
    """The parameter that is the training's seed, so that it can be repeated with another one."""

    train: str = parameter(
        ..., "Data set to train on, as named under `data:` (`tone.train`).", search="none"
    )
    r: int = parameter(16, "Rank of the adapter's matrices.", search="range", ge=1, le=4096)
    alpha: int | None = parameter(
        None,
        "PEFT's lora_alpha: the adapter is scaled by alpha / r (by alpha / sqrt(r) with "
        "use_rslora). None: the same as r, a scale of one at every rank.",
        search="range",
        ge=1,
    )
    dropout: float = parameter(
        0.0,
        "PEFT's lora_dropout: share of the adapter's inputs that is dropped while training.",
        unit="fraction",
        search="range",
        ge=0.0,
        lt=1.0,
    )
    target_modules: Literal["all-linear"] | list[str] = parameter(
        "all-linear",
        "Which modules get an adapter: `all-linear` (all but the head), or a list of names "
        "(`q_proj`, or more of the path: `self_attn.q_proj`). Each name must match a module.",
        search="choice",
    )
    use_dora: bool = parameter(
        False, "Weight-decomposed adapters (DoRA, arXiv 2402.09353); trains more slowly."
    )
    use_rslora: bool = parameter(
        False, "Scale by alpha / sqrt(r) (rank-stabilized LoRA, arXiv 2312.03732)."
    )
    learning_rate: float = parameter(
        2e-4, "Peak learning rate of AdamW.", search="range", gt=0.0, le=1.0
    )
    lr_scheduler_type: Scheduler = parameter(
        "linear",
        "How the learning rate falls after the warm-up; with the Trainer's own settings, so "
        "cosine_with_restarts has one cycle and polynomial the power 1. reduce_lr_on_plateau "
        "follows the held-out loss (needs eval_steps).",
    )
    warmup_ratio: float | None = parameter(
        None,
        "Share of the steps over which the learning rate rises from 0. None: no warm-up, unless "
        "warmup_steps is given.",
        unit="fraction",
        search="range",
        ge=0.0,
        lt=1.0,
    )
    warmup_steps: int | None = parameter(
        None, "The same as a number of steps.", unit="steps", search="range", ge=0
    )
    weight_decay: float = parameter(
        0.0, "AdamW's weight decay on the adapter.", search="range", ge=0.0, le=1.0
    )
    adam_beta1: float = parameter(
        0.9, "AdamW's decay of the gradients' mean.", search="range", ge=0.0, lt=1.0
    )
    adam_beta2: float = parameter(
        0.999, "AdamW's decay of the squared gradients' mean.", search="range", ge=0.0, lt=1.0
    )
    adam_epsilon: float = parameter(
        1e-8, "Added to AdamW's divisor, so that it is never zero.", search="range", gt=0.0
    )
    epochs: float | None = parameter(
        None,
        "Passes over the training data. None: one, unless max_steps is given.",
        unit="epochs",
        search="range",
        gt=0.0,
    )
    max_steps: int | None = parameter(
        None, "Optimizer steps, in place of epochs.", unit="steps", search="range", ge=1
    )
    stop_at: int | float | None = parameter(
        None,
        "Where the training ends; learning rate, warm-up and the order of examples are those of "
        "its whole length. In optimizer steps where max_steps is given, else in epochs. The state "
        "there is kept in the store, and a training that differs in stop_at only continues from "
        "it, to exactly the weights of an uninterrupted one. None: at its whole length.",
        unit="steps or epochs",
        search="range",
        gt=0,
    )
    batch_size: int = parameter(
        16, "Examples computed at once.", unit="examples", search="range", ge=1
    )
    gradient_accumulation_steps: int = parameter(
        1, "Batches that make one optimizer step.", unit="batches", search="range", ge=1
    )
    max_length: int = parameter(
        1024,
        "Longest example, and never more than the model's context. Of a longer one the longest "
        "column's text in the prompt loses its beginning; a conversation ends with the last answer "
        "that fits. A data set with a `corpus` has its own.",
        unit="tokens",
        search="choice",
        ge=2,
    )
    max_grad_norm: float = parameter(
        1.0, "Gradients are scaled down to this norm.", search="range", gt=0.0
    )
    seed: int = parameter(
        0, "Seed of the adapter's first weights, the order of examples and dropout.", ge=0
    )
    data_seed: int | None = parameter(
        None,
        "Seed of the order of examples and of which are held out. None: the same as seed.",
        ge=0,
    )
    quantize_for: Literal["next"] | RoundingGrid | None = parameter(
        None,
        "Quantization-aware training: the forward pass uses weights rounded as the build will "
        "round them. next: as the next pass in the recipe that quantizes does. Or the grid "
        "itself. None: training does not round.",
    )
    distill: bool = parameter(
        False,
        "With quantize_for: the loss is the divergence (KL) from the model that the pass is given, "
        "without rounding and without the adapter, in place of the cross-entropy: the adapter "
        "recovers what rounding loses and learns nothing new. For a model that is already trained.",
    )
    loss_on: Literal["answer", "all"] = parameter(
        "answer", "Learn to predict the answer's tokens only, or the prompt's too."
    )
    batching: Literal["length_grouped", "padding_free", "plain"] = parameter(
        "length_grouped",
        "length_grouped: examples of about the same length share a batch. plain: any do; shorter "
        "ones are padded. padding_free: any do, joined to one row in which none sees another "
        "(block-diagonal attention), without padding. Llama, Mistral, Phi-3, Qwen2 and Qwen3 on a "
        "processor compute attention by example; for others it costs the square of the whole row.",
    )
    gradient_checkpointing: bool | Literal["selective"] = parameter(
        False,
        "true: compute activations twice instead of keeping them: far less memory, a third "
        "slower. selective: keep the results of matrix products and attention, compute the rest "
        "twice: a fifth less memory, a tenth to a third slower.",
    )
    eval_data: str | None = parameter(
        None,
        "Data set whose loss is measured while training, as named under `data:`. It is written "
        "into training.json; early_stopping_patience and best_checkpoint go by it. None: no such "
        "measurement, unless eval_dataset_size is given.",
        search="none",
    )
    eval_dataset_size: float | int | None = parameter(
        None,
        "The same on examples taken out of the training data at random: a share of them (below "
        "1) or a number. Texts that occur twice may be on both sides; `split` avoids that.",
        unit="fraction or examples",
        search="none",
        gt=0,
    )
    eval_steps: int | None = parameter(
        None,
        "Optimizer steps between measurements of the held-out loss. None: at the end only.",
        unit="steps",
        search="none",
        ge=1,
    )
    early_stopping_patience: int | None = parameter(
        None,
        "The training ends after so many measurements of the held-out loss in a row that are not "
        "below the lowest one before them. None: it does not end early.",
        unit="measurements",
        search="none",
        ge=1,
    )
    best_checkpoint: bool = parameter(
        False,
        "true: the output is the adapter of the lowest held-out loss that was measured (the "
        "Trainer's load_best_model_at_end). false: the one at the end.",
        search="none",
    )
    eval_batch_size: int | None = parameter(
        None,
        "Examples computed at once for the held-out loss. None: batch_size.",
        unit="examples",
        search="none",
        ge=1,
    )
    logging_steps: int = parameter(
        1,
        "Optimizer steps whose mean loss is one entry of `losses` in training.json.",
        unit="steps",
        search="none",
        ge=1,
    )
    dtype: Dtype | Literal["auto"] = parameter(
        "fp32",
        "Precision of training. bf16 and fp16: the model is held in it and matrices are "
        "multiplied in it; the adapter and its optimizer stay in fp32. fp16 needs a GPU; bf16 is "
        "many times slower than fp32 on processors without instructions for it. auto: bf16 where "
        "a short measurement before the training finds it faster and the loss within 0.01, else "
        "fp32; fp32 with quantize_for.",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> LoraParams:
        for one, other in _ONE_OF:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        if self.lr_scheduler_type in _WITHOUT_WARMUP and (self.warmup_ratio or self.warmup_steps):
            raise ValueError(
                f"{self.lr_scheduler_type!r} has no warm-up; use 'constant_with_warmup'"
            )
        if isinstance(self.target_modules, list) and not self.target_modules:
            raise ValueError("target_modules names no module; leave it out for all-linear")
        return self

    @model_validator(mode="after")
    def _held_out_data_is_there(self) -> LoraParams:
        size = self.eval_dataset_size
        if size is not None and size >= 1 and size != int(size):
            raise ValueError("eval_dataset_size is a share below 1 or a whole number of examples")
        if self.eval_data is None and size is None:
            for name in ("eval_steps", "eval_batch_size"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs eval_data or eval_dataset_size beside it")
        if self.lr_scheduler_type == "reduce_lr_on_plateau" and self.eval_steps is None:
            raise ValueError("'reduce_lr_on_plateau' follows the held-out loss: give eval_steps")
        for name in _GO_BY_HELD_OUT:
            if getattr(self, name) and self.eval_steps is None:
                raise ValueError(f"{name} goes by the held-out loss: give eval_steps")
        return self

    @model_validator(mode="after")
    def _stops_within_its_length(self) -> LoraParams:
        if self.stop_at is not None:
            why = _beyond(self.stop_at, self.length, steps=self.max_steps is not None)
            if why is not None:
                raise ValueError(why)
        return self

    @model_validator(mode="after")
    def _rounds_what_is_merged(self) -> LoraParams:
        if self.distill and self.quantize_for is None:
            raise ValueError("distill needs quantize_for: unrounded, the model is its own teacher")
        if self.quantize_for is not None:
            for name, wrong, why in (
                (
                    "dropout",
                    self.dropout > 0,
                    "base and adapter are rounded as one matrix, and "
                    "what is dropped would be missing in it",
                ),
                (
                    "use_dora",
                    self.use_dora,
                    "its magnitudes need the gradient of whole matrices; "
                    "use plain or rank-stabilized LoRA",
                ),
                (
                    "dtype",
                    self.dtype not in ("fp32", AUTO),
                    "in another precision than fp32 training would "
                    "round to other codes than the build does",
                ),
            ):
                if wrong:
                    raise ValueError(f"{name} does not go with quantize_for: {why}")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was added later and changes nothing: cache keys stay as they were.

        A stop at the whole length is none.
        """
        values: dict[str, Any] = handler(self)
        without = [name for name in _ADDED if not values.get(name)]
        if self.share == 1.0:
            without.append("stop_at")
        return {name: value for name, value in values.items() if name not in without}

    @property
    def length(self) -> float:
        """The whole length: steps if `max_steps` is given, else epochs."""
        return self.max_steps or self.epochs or 1.0

    @property
    def share(self) -> float:
        """The share of the whole length after which the training ends."""
        return 1.0 if self.stop_at is None else self.stop_at / self.length

    @classmethod
    def refused(cls, grid: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """Yield parameters whose values fit no training of a configuration, and why.

        Args:
            grid: The values of each parameter that is given.
        """
        steps = "max_steps" in grid
        lengths = grid["max_steps"] if steps else grid.get("epochs", [1.0])
        if None not in lengths:
            for stop in grid.get("stop_at", ()):
                why = None if stop is None else _beyond(stop, max(lengths), steps=steps)
                if why is not None:
                    yield "stop_at", why
        for name in _GO_BY_HELD_OUT:
            if any(grid.get(name, ())) and not any(grid.get("eval_steps", ())):
                yield name, f"{name} goes by the held-out loss: give eval_steps"

    def precisions(self) -> tuple[Dtype, ...]:
        """Return the precisions that the training computes in, whatever is measured."""
        return () if self.dtype == AUTO else (self.dtype,)


def _beyond(stop: float, length: float, *, steps: bool) -> str | None:
    """Return why a training cannot end there, or None."""
    if steps and stop != int(stop):
        return f"stop_at counts optimizer steps, as max_steps does: {stop:g} is not a whole number"
    if stop > length:
        unit = "steps" if steps else "epochs"
        return f"stop_at is {stop:g} {unit}, and the training's whole length is {length:g}"
    return None
