"""The pass ``awq_scaling``: scales channels so that the rounding after it loses less."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from paretune.core import params as declared
from paretune.core.candidate import Step
from paretune.core.estimate import DataSize, Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.jsontools import Json
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.checks.quantized import refusal
from paretune.passes.base import PassBase
from paretune.passes.genai.calibration import TOKENS_OF_OWN_TEXT, Calibration, calibration_rows
from paretune.passes.genai.options import GenaiParams
from paretune.passes.lora.merge import copy_companions
from paretune.passes.quantization.node_bits import ARCHITECTURES

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


class ScaledFor(declared.Params):
    """The grid whose rounding is to lose less."""

    bits: Literal[4, 8] = parameter(4, "Of a weight.", search="none")
    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights", search="none"
    )
    is_symmetric: bool = parameter(True, "No zero points.", search="none")


class AwqScalingParams(declared.Params):
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
    examples: int = parameter(
        128, "Most examples of `data` that are used, evenly spread over it.", search="none", ge=1
    )
    max_length: int = parameter(
        512, "Tokens of a text that are used, at most.", unit="tokens", search="none", ge=2
    )

    @property
    def texts(self) -> Calibration:
        """The texts."""
        return Calibration(data=self.data, examples=self.examples, max_length=self.max_length)


class AwqScaling(PassBase):
    """Scales channels with large activations, so that they are rounded in finer steps (AWQ)."""

    name = "awq_scaling"
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF
    Params = AwqScalingParams
    packages = ("torch", "transformers", "safetensors")

    def data(self, params: AwqScalingParams) -> tuple[str, ...]:
        """Return the reference of the data set whose texts are used, if one is named."""
        return () if params.data is None else (params.data,)

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
        if first is None or first.name != "genai":
            return (
                "rounded_to: next: expected `genai` after it, found "
                f"{'none' if first is None else first.name}"
            )
        try:
            build = GenaiParams(**first.params)
        except ValidationError:
            return "rounded_to: next: the parameters of genai after it are refused"
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
        seconds = None if params.data is not None else _seconds(TOKENS_OF_OWN_TEXT, model)
        return Estimate(weights, _MEMORY_TO_START + weights + beside + states, seconds)

    def seconds_on(
        self,
        model: ModelInfo,
        params: AwqScalingParams,
        target: TargetInfo,
        size: Callable[[str], DataSize],
    ) -> float | None:
        """Return the expected time, by the number and the length of the texts."""
        if not model.parameters:
            return None
        tokens: float = TOKENS_OF_OWN_TEXT
        if params.data is not None:
            tokens = params.texts.tokens(size(params.data))
        return _seconds(tokens, model)

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
        from paretune.core.errors import PassError
        from paretune.passes.hugging_face import load_fp32, use_all_cores
        from paretune.passes.quantization.channel_scales import scale_channels, told
        from paretune.passes.quantization.grid import Grid

        grid = params.rounded_to
        if not isinstance(grid, ScaledFor):
            raise PassError(
                "awq_scaling: rounded_to: next stands for the grid of the genai that follows, and "
                "there is no recipe",
                hint="Give the grid itself: rounded_to: {block_size: 32}.",
            )
        use_all_cores()
        context.progress(Progress(self.name, 0, 1, "loading"))
        rows = calibration_rows(model, params.texts, context, self.name)
        network = load_fp32(model.path, context).eval()
        found = scale_channels(
            network, rows, Grid(grid.bits, grid.block_size, grid.is_symmetric), context.progress
        )
        context.progress(Progress(self.name, 0, 1, "writing"))
        network.save_pretrained(context.out)
        copy_companions(model, context.out, trust_remote_code=context.trust_remote_code)
        context.details.update(told(found))


def _seconds(tokens: float, model: ModelInfo) -> float:
    work = tokens * _SECONDS_A_TOKEN_AND_WEIGHT + _SECONDS_A_WEIGHT
    return _SECONDS_TO_START + work * model.parameters
