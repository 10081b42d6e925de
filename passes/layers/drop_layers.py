"""The pass ``drop_layers``: removes a block of consecutive decoder layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.models.comparison_text import TEXT
from paretune.passes.lora.lora import bytes_a_weight, weights_of_layers
from paretune.passes.on_texts import OnTexts, TextParams

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

ARCHITECTURES = frozenset(
    {"gemma", "granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3"}
)
"""Those (by ``model_type``) of which tests show that a model without a block is built right."""

# Measured on SmolLM2 with two cores: 4.5 s and 1,350 MB for 6 of 30 layers, imports included.
# Source and result are loaded, one after the other.
_SECONDS_TO_START = 1.0
_SECONDS_A_WEIGHT = 15e-9
_SECONDS_A_TOKEN_AND_WEIGHT = 25e-12
_MEMORY_TO_START = 400_000_000
_TOKENS_OF_OWN_TEXT = 550


class DropLayersParams(TextParams):
    """Parameters of `DropLayers`."""

    layers: int | None = parameter(
        None,
        "How many consecutive layers are dropped: the block whose output has the smallest mean "
        "angular distance from its input (Gromov et al., arXiv 2403.17887).",
        unit="layers",
        search="range",
        ge=1,
    )
    drop: list[int] | None = parameter(
        None, "The layers to drop, consecutive, counted from 0; in place of `layers`.", min_length=1
    )
    data: str | None = parameter(
        None,
        "Data set whose texts the distances are measured on. None: a short English text that "
        "ships with paretune.",
        search="none",
    )
    examples: int = parameter(
        32, "Most examples of `data` that are used, evenly spread over it.", search="none", ge=1
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.layers is None) == (self.drop is None):
            raise ValueError("give either layers (how many) or drop (which ones)")
        if self.drop is not None and not _is_block(self.drop):
            raise ValueError(
                f"drop: {self.drop} are not consecutive layers; expected numbers from 0 such as "
                "[20, 21, 22]"
            )
        return self

    @property
    def count(self) -> int:
        """How many layers are dropped."""
        return len(self.drop) if self.drop is not None else self.layers or 0


class DropLayers(OnTexts):
    """Removes one block of consecutive decoder layers; put `lora` behind it to recover accuracy."""

    name = "drop_layers"
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF
    Params = DropLayersParams
    packages = ("torch", "transformers", "safetensors")

    def fidelity(self, params: DropLayersParams) -> Fidelity:
        """Return that the result is another model; the pass itself compares what it kept."""
        return Fidelity.CHANGED

    def check(
        self, model: ModelInfo, params: DropLayersParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why these layers cannot be dropped from this model, or None."""
        if model.quantized:
            return refusal(model.quantized, self.name)
        if model.model_type and model.model_type not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            return (
                f"where the decoder layers of a {model.model_type!r} are, and what depends on "
                f"their number, is not known here; it is for {known}"
            )
        if not model.layers:
            return "config.json does not say how many layers there are (num_hidden_layers)"
        if params.drop is not None and params.drop[-1] >= model.layers:
            return (
                f"drop: there is no layer {params.drop[-1]}; this model has {model.layers}, "
                f"counted from 0 to {model.layers - 1}"
            )
        if params.count >= model.layers:
            return (
                f"it would drop {params.count} of {model.layers} layers, and at least one must be "
                "kept"
            )
        return None

    def estimate(self, model: ModelInfo, params: DropLayersParams, target: TargetInfo) -> Estimate:
        """Return the size, and the cost on the text that ships with paretune.

        `seconds_on` returns the time on a data set.
        """
        if not (model.parameters and model.layers and model.hidden_size):
            return Estimate()
        states = 4 * (model.layers + 1) * params.max_length * model.hidden_size
        # Weights in fp32 are mapped from their file; others are converted, and their file counts.
        file = 0 if model.precision == "fp32" else 2 * model.parameters
        measuring = 4 * model.parameters + file + states
        size = self.predict(model, params).bytes
        copying = model.bytes + size  # both files are mapped
        return Estimate(
            bytes_out=size,
            peak_memory=_MEMORY_TO_START + max(measuring, copying),
            seconds=self.own_seconds(model, params),
        )

    def own_tokens(self, params: TextParams) -> int:
        """Return how many tokens of the one short text are used."""
        return min(params.max_length, _TOKENS_OF_OWN_TEXT)

    def seconds_for(self, model: ModelInfo, params: TextParams, tokens: float) -> float:
        """Return the expected time."""
        work = tokens * weights_of_layers(model) * _SECONDS_A_TOKEN_AND_WEIGHT
        return _SECONDS_TO_START + _SECONDS_A_WEIGHT * model.parameters + work

    def predict(self, model: ModelInfo, params: DropLayersParams) -> ModelInfo:
        """Return the facts of the model without the layers."""
        found = super().predict(model, params)
        if params.count >= model.layers:  # refused by `check`
            return found
        of_layers = max(0, weights_of_layers(model) - model.hidden_size)  # without the last norm
        gone = params.count * (of_layers // model.layers)
        return replace(
            found,
            layers=model.layers - params.count,
            parameters=model.parameters - gone,
            bytes=max(0, model.bytes - bytes_a_weight(model.precision) * gone),
        )

    def run(self, model: Model, params: DropLayersParams, context: Context) -> None:
        """Write a complete Hugging Face folder without the layers.

        Its details are ``dropped`` (the layers, counted from 0), ``layers`` (of the source),
        ``distances`` (mean angular distance of each block of this size, by its first layer; 1 is a
        turn by 180 degrees) and ``tokens`` (how many they were measured on).

        Raises:
            PassError: The layers cannot be found, or the texts have no two tokens.
            InvalidArtifactError: The result is not the source without these layers.
        """
        from paretune.passes.hugging_face import load_fp32, load_tokenizer, use_all_cores
        from paretune.passes.layers.angular_distance import (
            decoder_layers,
            distances,
            logits_without,
        )
        from paretune.passes.layers.kept_layers import check_logits, check_tensors, write_without
        from paretune.passes.texts import token_rows

        use_all_cores()
        context.progress(Progress(self.name, 0, 3, "loading"))
        rows = token_rows(
            model,
            load_tokenizer(model.path, context),
            context,
            params.data,
            own=[TEXT],
            examples=params.examples,
            max_length=params.max_length,
        )
        if not rows:
            raise PassError(
                f"drop_layers: no text of {params.data or 'the built-in text'!r} has two tokens, "
                "and distances are measured from the second one on",
                hint="Name a data set with longer texts in `data`.",
            )
        network = load_fp32(model.path, context).eval()
        layers = len(decoder_layers(network))
        found = distances(network, rows, params.count, context.progress)
        first = params.drop[0] if params.drop is not None else found.index(min(found))
        block = range(first, first + params.count)
        expected = logits_without(network, block, rows[0])
        del network  # the result is loaded next, and both need not fit into memory
        context.progress(Progress(self.name, 1, 3, f"dropping {named(block)} of {layers}"))
        write_without(model, block, layers, context)
        context.progress(Progress(self.name, 2, 3, "comparing with the source"))
        check_tensors(model, block, layers, context.out)
        check_logits(load_fp32(context.out, context).eval(), rows[0], expected, block)
        context.details.update(_details(block, layers, found, sum(map(len, rows))))


def named(block: range) -> str:
    """Return a block of layers as text: ``layer 3``, or ``layers 20 to 25``."""
    return f"layer {block[0]}" if len(block) == 1 else f"layers {block[0]} to {block[-1]}"


def _details(block: range, layers: int, found: list[float], tokens: int) -> dict[str, Json]:
    least = found.index(min(found))
    own = f"angular distance {found[block[0]]:.4f}"
    if block[0] == least:
        own += f", the smallest of {len(found)} blocks" if len(found) > 1 else ""
    else:
        own += f"; the smallest, {found[least]:.4f}, is that of the block from layer {least}"
    return {
        "summary": f"dropped {named(block)} of {layers} (counted from 0): {own}, over {tokens} "
        "tokens",
        "dropped": list(block),
        "layers": layers,
        "distances": [round(distance, 6) for distance in found],
        "tokens": tokens,
    }


def _is_block(layers: list[int]) -> bool:
    return layers[0] >= 0 and layers == list(range(layers[0], layers[0] + len(layers)))
