"""The pass ``lora``: trains a low-rank adapter with PEFT and the transformers Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from paretune.core.candidate import Step
from paretune.core.errors import nearest
from paretune.core.estimate import DataSize, Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.passes.base import PassBase
from paretune.passes.lora.params import AUTO, LoraParams
from paretune.passes.quantization.next_grid import next_grid, why_another
from paretune.passes.quantization.node_bits import ARCHITECTURES, why_unknown
from paretune.passes.quantization.rounding_grid import RoundingGrid

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

__all__ = ["Lora", "LoraParams"]

_PROJECTIONS = 7
"""Matrices of a Llama layer."""
# Measured by benchmarks/foresight.py with two cores, on Llamas of 0.3, 47, 135 and 362 million
# weights. How long examples are is not known here: those of a phrase are taken, the longest ones.
_TOKENS_PER_EXAMPLE = 48
"""Of English text, about."""
_SECONDS_TO_START = 1.0
_SECONDS_A_TOKEN_AND_WEIGHT = 50e-12
_SLOWER_WITH_CHECKPOINTING = 1.4
# One forward pass more than forward, and backward to inputs.
_SLOWER_WITH_A_TEACHER = 1.5
# The libraries (half of their pages count where jobs are forked) and the 8 million logits that the
# loss holds at once, whatever the batch.
_MEMORY_TO_START = 400_000_000
# Numbers kept of a token for the gradient, for each input and output of the layers' matrices. With
# checkpointing they are fewer, but what they were computed in is not given back.
_KEPT = 2.0
_KEPT_WITH_CHECKPOINTING = 1.0
# Weights that the embedding and the head share when they are tied.
_SHARED_WHEN_TIED = frozenset({"embed_tokens", "lm_head", "wte", "embed_in", "embed_out"})


class TrainsAdapter(PassBase):
    """What passes that train an adapter have in common."""

    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF_ADAPTER
    trains = True

    def data(self, params: LoraParams) -> tuple[str, ...]:
        """Return the references of the data sets that a run reads."""
        return (params.train,) if params.eval_data is None else (params.train, params.eval_data)

    def resumable(self, params: LoraParams) -> tuple[LoraParams, float]:
        """Return the parameters of the whole training, and the share of it after which it ends."""
        return params.model_copy(update={"stop_at": None}), params.share

    def look_ahead(
        self, params: Mapping[str, Json], following: Sequence[Step]
    ) -> dict[str, Json] | str:
        """Return parameters with the grid of the next quantizing pass for ``quantize_for: next``.

        Args:
            params: As the configuration has them.
            following: The steps after the training.

        Returns:
            The parameters, or why no grid can be trained for, or not the given one.
        """
        given = params.get("quantize_for")
        if given is None:
            return dict(params)
        grid = next_grid(following)
        if given != "next":
            why = None if isinstance(grid, str) else why_another(given, grid)
            return dict(params) if why is None else why
        if isinstance(grid, str):
            return f"quantize_for: next: {grid}"
        shown = {"bits": grid.bits, "block_size": grid.block_size}
        shown |= grid.model_dump(mode="json", exclude_defaults=True)
        return {**params, "quantize_for": shown}

    def fidelity(self, params: LoraParams) -> Fidelity:
        """Return that what it trains is another model."""
        return Fidelity.CHANGED


class Lora(TrainsAdapter):
    """Fine-tunes a low-rank adapter (LoRA, DoRA) on a data set."""

    name = "lora"
    version = 6
    Params = LoraParams
    packages = ("torch", "transformers", "peft", "accelerate")

    def check(
        self, model: ModelInfo, params: LoraParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why the precision or a target module cannot be trained, or None."""
        if model.quantized:
            return refusal(model.quantized, self.name)
        if params.dtype == "fp16" and not target.gpus:
            return "fp16 training needs a GPU, and this device has none; use fp32"
        if params.quantize_for is not None:
            why = _not_rounded(model, params.quantize_for, provider)
            if why is not None:
                return why
        if params.target_modules == "all-linear":
            return None
        for name in params.target_modules:
            last = name.split(".")[-1]
            if params.quantize_for is not None and last in _SHARED_WHEN_TIED:
                return (
                    f"target module {name!r}: quantize_for trains adapters on the layers' "
                    "matrices only; embedding and head are rounded as they are"
                )
            if model.tied and last in _SHARED_WHEN_TIED:
                return (
                    f"target module {name!r}: this model's embedding and head share their "
                    "weights, and an adapter on one of them would tear them apart"
                )
            if model.modules and last not in model.modules:
                return f"no module named {name!r} in this model. {nearest(last, model.modules)}"
        return None

    def estimate(self, model: ModelInfo, params: LoraParams, target: TargetInfo) -> Estimate:
        """Return the adapter's size and the memory; the time, if the number of steps is given.

        `seconds_on` tells the time by the data.
        """
        targets = params.target_modules
        share = 1.0 if targets == "all-linear" else min(1.0, len(targets) / _PROJECTIONS)
        if not (model.parameters and model.layers and model.hidden_size):
            return Estimate()
        widths = widths_of_layers(model)
        weights = params.r * widths * share
        again = params.gradient_checkpointing
        tokens = params.batch_size * min(params.max_length, _TOKENS_PER_EXAMPLE)
        kept = _KEPT_WITH_CHECKPOINTING if again else _KEPT
        # Four numbers a trained weight: itself, its gradient and AdamW's two.
        training = 16 * weights + 4 * kept * tokens * widths
        # While weights are converted, their file counts too; one that fits as it is is only mapped.
        held = bytes_a_weight(params.dtype) * model.parameters
        file = bytes_a_weight(model.precision) * model.parameters
        loading = 0 if model.precision == params.dtype else file
        if params.quantize_for is not None:
            held += 4 * model.parameters  # rounded weights beside the others
        seconds = None
        if params.max_steps is not None:
            steps = params.max_steps * params.gradient_accumulation_steps
            seconds = _seconds(steps * tokens * params.share, model, params)
        return Estimate(
            bytes_out=int(4 * weights),
            peak_memory=int(_MEMORY_TO_START + held + max(training, loading)),
            seconds=seconds,
        )

    def seconds_on(
        self,
        model: ModelInfo,
        params: LoraParams,
        target: TargetInfo,
        size: Callable[[str], DataSize],
    ) -> float | None:
        """Return the expected time, by the number and the length of the examples."""
        if not (model.parameters and model.layers and model.hidden_size):
            return None
        of = size(params.train)
        examples = max(1, of.examples)
        tokens = of.tokens_of_example(params.max_length)
        if params.max_steps is not None:
            batches = params.max_steps * params.gradient_accumulation_steps
            trained: float = batches * min(params.batch_size, examples)
        else:
            trained = examples * (1.0 if params.epochs is None else params.epochs)
        return _seconds(trained * tokens * params.share, model, params)

    def run(self, model: Model, params: LoraParams, context: Context) -> None:
        """Train, and write ``adapter_model.safetensors``, its config and ``training.json``.

        Raises:
            PassError: A target module matches nothing, an answer is longer than max_length, or
                the loss became infinite or NaN.
        """
        from paretune.passes.hugging_face import load_causal_lm
        from paretune.passes.lora.precision import torch_dtype
        from paretune.passes.lora.training import fine_tune

        fine_tune(
            self.name,
            model,
            params,
            context,
            lambda settled: load_causal_lm(model.path, context, dtype=torch_dtype(settled.dtype)),
        )


def bytes_a_weight(precision: str) -> int:
    """Return the bytes of a weight in a file or in memory; ``auto`` tries fp32 first."""
    return 4 if precision in ("fp32", AUTO) else 2


def _not_rounded(
    model: ModelInfo, grid: RoundingGrid | Literal["next"], provider: str
) -> str | None:
    """Return why no training can round as a build of a model does, or None."""
    if provider != "cpu":
        return (
            f"quantize_for: builds for provider {provider!r} hold scales in 16 bits, and training "
            "rounds to scales in fp32, as builds for cpu have them"
        )
    if model.model_type and model.model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        return (
            f"quantize_for: which matrices a build of {model.model_type!r} rounds is not known "
            f"here; it is for {known}"
        )
    why = None if isinstance(grid, str) else why_unknown(grid, model.modules)
    return None if why is None else f"quantize_for: {why}; use the same bits in all layers"


def _seconds(tokens: float, model: ModelInfo, params: LoraParams) -> float:
    """Return the seconds in which so many tokens are trained on, starting up included."""
    work = tokens * weights_of_layers(model) * _SECONDS_A_TOKEN_AND_WEIGHT
    work *= _SLOWER_WITH_CHECKPOINTING if params.gradient_checkpointing else 1.0
    return _SECONDS_TO_START + work * (_SLOWER_WITH_A_TEACHER if params.distill else 1.0)


def widths_of_layers(model: ModelInfo) -> float:
    """Return the inputs and outputs of all the layers' matrices together; times r, an adapter.

    One side of each matrix is as wide as the model (or nearly); the other sides follow from how
    many weights the layers have.
    """
    if not model.hidden_size:
        return 0.0
    others = weights_of_layers(model) / model.hidden_size
    return _PROJECTIONS * model.layers * model.hidden_size + others


def weights_of_layers(model: ModelInfo) -> int:
    """Return the number of weights beside the embedding and the head."""
    embedding = model.vocab_size * model.hidden_size
    return max(0, model.parameters - embedding * (1 if model.tied else 2))
