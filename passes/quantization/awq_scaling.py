"""The pass ``awq_scaling``: scales channels so that the rounding after it loses less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from paretune.core.candidate import Step
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.passes.genai.calibration import TOKENS_OF_OWN_TEXT, calibration_rows
from paretune.passes.lora.merge import copy_companions
from paretune.passes.on_texts import OnTexts, TextParams
from paretune.passes.quantization.node_bits import ARCHITECTURES
from paretune.passes.quantization.rounded_to import GridParams, build_that_follows, grid_itself

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# From a profile of a few operations on two cores, not from whole runs; the observed seconds of a
# search correct it.
_SECONDS_TO_START = 2.0
_SECONDS_A_WEIGHT = 450e-9
_SECONDS_A_TOKEN_AND_WEIGHT = 60e-12
_MEMORY_TO_START = 400_000_000
_STATES = 3
"""Copies of the hidden states of all texts that are held."""


class ScaledFor(GridParams):
    """The grid whose rounding is to lose less."""

    bits: Literal[4, 8] = parameter(4, "Of a weight.", search="none")


class AwqScalingParams(TextParams):
    """Parameters of `AwqScaling`."""

    rounded_to: Literal["next"] | ScaledFor = parameter(
        ScaledFor(),
        "The grid whose rounding is to lose less, `{bits: 4, block_size: 32, is_symmetric: true}`. "
        "next: that of the genai that follows.",
    )
    data: str | None = parameter(
        None,
        "Data set with the texts whose activations count. None: English prose that ships with "
        "paretune.",
        search="none",
    )


class AwqScaling(OnTexts):
    """Scales channels with large activations, so that they are rounded in finer steps (AWQ)."""

    name = "awq_scaling"
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF
    Params = AwqScalingParams
    packages = ("torch", "transformers", "safetensors")

    def fidelity(self, params: AwqScalingParams) -> Fidelity:
        """Return that the result computes what its source does."""
        return Fidelity.FP32

    def look_ahead(
        self, params: Mapping[str, Json], following: Sequence[Step]
    ) -> dict[str, Json] | str:
        """Return parameters with the grid of the genai that follows for ``rounded_to: next``.

        Args:
            params: As the configuration has them.
            following: The steps after it; `sensitivity` may stand between.

        Returns:
            The parameters, or why there is no such grid.
        """
        if params.get("rounded_to") != "next":
            return dict(params)
        first = next((step for step in following if step.name != "sensitivity"), None)
        build = build_that_follows(first, "`genai` after it")
        if isinstance(build, str):
            return build
        if not build.quantized:
            return f"rounded_to: next: genai with precision {build.precision} rounds no matrix"
        grid = ScaledFor(bits=8 if build.precision == "int8" else 4, **build.grid)
        return {**params, "rounded_to": grid.model_dump(mode="json")}

    def check(
        self, model: ModelInfo, params: AwqScalingParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why this model's channels cannot be scaled, or None."""
        if model.quantized:
            return refusal(model.quantized, self.name)
        if model.model_type and model.model_type not in ARCHITECTURES:
            return (
                f"which layers of a {model.model_type!r} give others their inputs is not known "
                f"here; it is for {', '.join(sorted(ARCHITECTURES))}"
            )
        return None

    def estimate(self, model: ModelInfo, params: AwqScalingParams, target: TargetInfo) -> Estimate:
        """Return size and memory, and the time on the text that ships with paretune.

        `seconds_on` returns the time on a data set.
        """
        if not (model.parameters and model.layers and model.hidden_size):
            return Estimate()
        weights = 4 * model.parameters
        beside = weights if model.precision == "fp32" else 2 * model.parameters
        states = _STATES * 4 * TOKENS_OF_OWN_TEXT * model.hidden_size
        held = _MEMORY_TO_START + weights + beside + states
        return Estimate(weights, held, self.own_seconds(model, params))

    def own_tokens(self, params: TextParams) -> int:
        """Return about how many tokens the prose has."""
        return TOKENS_OF_OWN_TEXT

    def seconds_for(self, model: ModelInfo, params: TextParams, tokens: float) -> float:
        """Return the expected time."""
        work = tokens * _SECONDS_A_TOKEN_AND_WEIGHT + _SECONDS_A_WEIGHT
        return _SECONDS_TO_START + work * model.parameters

    def predict(self, model: ModelInfo, params: AwqScalingParams) -> ModelInfo:
        """Return the source's facts, in fp32."""
        return replace(
            super().predict(model, params),
            bytes=4 * model.parameters or model.bytes,
            precision="fp32",
        )

    def run(self, model: Model, params: AwqScalingParams, context: Context) -> None:
        """Write a complete Hugging Face folder, in fp32.

        Its details are ``exponents``: of each group of matrices with the same inputs, 0 where
        nothing was changed.

        Raises:
            PassError: The texts have no two tokens, or ``next`` is not resolved.
        """
        from paretune.passes.hugging_face import load_fp32, use_all_cores
        from paretune.passes.quantization.channel_scales import scale_channels, told
        from paretune.passes.quantization.grid import Grid

        grid = grid_itself(params.rounded_to, self.name)
        use_all_cores()
        context.progress(Progress(self.name, 0, 1, "loading"))
        rows = calibration_rows(model, params, context, self.name)
        network = load_fp32(model.path, context).eval()
        found = scale_channels(
            network, rows, Grid(grid.bits, grid.block_size, grid.is_symmetric), context.progress
        )
        context.progress(Progress(self.name, 0, 1, "writing"))
        network.save_pretrained(context.out)
        copy_companions(model, context.out, trust_remote_code=context.trust_remote_code)
        context.details.update(told(found))
