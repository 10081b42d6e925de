"""The pass ``sensitivity``: measures how much the rounding of each matrix matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from paretune.passes.copied import copy_files
from paretune.passes.genai.calibration import (
    DAMP_PERCENT,
    TOKENS_OF_OWN_TEXT,
    calibration_rows,
    rounding_seconds,
)
from paretune.passes.on_texts import OnTexts, TextParams
from paretune.passes.quantization.node_bits import ARCHITECTURES
from paretune.passes.quantization.rounded_to import GridParams, build_that_follows, grid_itself
from paretune.passes.quantization.sensitivity_file import BITS, Sensitivity

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# Measured on SmolLM2 with two cores, one of them used by others.
_SECONDS_TO_START = 2.0
_SECONDS_A_WEIGHT = 100e-9
_SECONDS_A_TOKEN_AND_WEIGHT = 120e-12
_MEMORY_TO_START = 400_000_000
_BYTES_A_WEIGHT = 4 + 2 * len(BITS)
_STATES_A_TOKEN_AND_LAYER = 60
"""Of the width of the residual stream, in fp32: what is kept for the backward pass."""
_COPIES_OF_LOGITS = 4
_COPIES_OF_HEAD = 3


class RoundedTo(GridParams):
    """The grid whose rounding is measured, at 4 and at 8 bits."""

    algorithm: Literal["default", "gptq"] = parameter(
        "default", "How: to the nearest, or by GPTQ on the same texts.", search="none"
    )


class SensitivityParams(TextParams):
    """Parameters of `SensitivityPass`."""

    rounded_to: Literal["next"] | RoundedTo = parameter(
        RoundedTo(),
        "The grid whose rounding is measured, `{block_size: 32, is_symmetric: true, algorithm: "
        "default}`. next: that of the genai that follows.",
    )
    data: str | None = parameter(
        None,
        "Data set with the texts whose loss is measured. None: English prose that ships with "
        "paretune.",
        search="none",
    )


class SensitivityPass(OnTexts):
    """Measures how the loss depends on the rounding of each matrix, for `genai: {budget: ...}`."""

    name = "sensitivity"
    accepts = frozenset({ModelKind.HF})
    produces = ModelKind.HF
    Params = SensitivityParams
    packages = ("torch", "transformers")

    def fidelity(self, params: SensitivityParams) -> Fidelity:
        """Return that nothing is to be compared: its output is a copy, with a file more."""
        return Fidelity.CHANGED

    def look_ahead(
        self, params: Mapping[str, Json], following: Sequence[Step]
    ) -> dict[str, Json] | str:
        """Return parameters with the grid of the genai that follows for ``rounded_to: next``.

        Args:
            params: As the configuration has them.
            following: The steps after it.

        Returns:
            The parameters, or why there is no such grid.
        """
        if params.get("rounded_to") != "next":
            return dict(params)
        first = following[0] if following else None
        build = build_that_follows(first, "`genai` as the next pass")
        if isinstance(build, str):
            return build
        algorithm = "gptq" if build.algorithm == "gptq" else "default"
        rounded_to = RoundedTo(**build.grid, algorithm=algorithm)
        return {**params, "rounded_to": rounded_to.model_dump(mode="json")}

    def check(
        self, model: ModelInfo, params: SensitivityParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why this model's matrices cannot be measured, or None."""
        if model.quantized:
            return refusal(model.quantized, self.name)
        if model.model_type and model.model_type not in ARCHITECTURES:
            return (
                f"which matrices a build of {model.model_type!r} rounds is not known here; it is "
                f"for {', '.join(sorted(ARCHITECTURES))}"
            )
        return None

    def estimate(self, model: ModelInfo, params: SensitivityParams, target: TargetInfo) -> Estimate:
        """Return size and memory, and the time on the text that ships with paretune.

        `seconds_on` returns the time on a data set.
        """
        if not (model.parameters and model.layers and model.hidden_size):
            return Estimate()
        states = _STATES_A_TOKEN_AND_LAYER * 4 * model.layers * model.hidden_size
        logits = _COPIES_OF_LOGITS * 4 * model.vocab_size
        head = _COPIES_OF_HEAD * 4 * model.vocab_size * model.hidden_size
        held = _BYTES_A_WEIGHT * model.parameters + params.max_length * (states + logits) + head
        seconds = self.own_seconds(model, params)
        return Estimate(model.bytes, _MEMORY_TO_START + held, seconds)

    def own_tokens(self, params: TextParams) -> int:
        """Return about how many tokens the prose has."""
        return TOKENS_OF_OWN_TEXT

    def seconds_for(self, model: ModelInfo, params: SensitivityParams, tokens: float) -> float:
        """Return the expected time of the derivatives and, with gptq, of its rounding."""
        work = tokens * _SECONDS_A_TOKEN_AND_WEIGHT + _SECONDS_A_WEIGHT
        grid = params.rounded_to
        by_gptq = isinstance(grid, RoundedTo) and grid.algorithm == "gptq"
        more = rounding_seconds(model, tokens, len(BITS)) if by_gptq else 0.0
        return _SECONDS_TO_START + work * model.parameters + more

    def run(self, model: Model, params: SensitivityParams, context: Context) -> None:
        """Write a copy of the model, and the measured derivatives beside it.

        Raises:
            PassError: The texts have no two tokens, ``next`` is not resolved, or a derivative is
                not finite.
        """
        from paretune.passes.hugging_face import load_fp32, use_all_cores
        from paretune.passes.quantization.grid import Grid
        from paretune.passes.quantization.rounding_derivatives import measure
        from paretune.passes.quantization.rounding_errors import gptq_errors, nearest_errors

        grid = grid_itself(params.rounded_to, self.name)
        use_all_cores()
        context.progress(Progress(self.name, 0, 1, "loading"))
        rows = calibration_rows(model, params, context, self.name)
        network = load_fp32(model.path, context)
        grids = [Grid(bits, grid.block_size, grid.is_symmetric) for bits in BITS]
        context.progress(Progress(self.name, 0, 1, "rounding each matrix"))
        if grid.algorithm == "gptq":
            errors = gptq_errors(network, rows, grids, DAMP_PERCENT, context.progress)
        else:
            errors = nearest_errors(network, grids)
        derivatives = measure(network, rows, errors, context.progress)
        tokens = sum(len(ids) - 1 for ids in rows)
        found = Sensitivity(grid.block_size, grid.is_symmetric, grid.algorithm, tokens, derivatives)
        copy_files(model, context.out)
        found.write(context.out)
        context.details.update(_details(found, len(rows)))


def _details(found: Sensitivity, texts: int) -> dict[str, Json]:
    names = found.derivatives[BITS[0]]
    by_bits = {bits: {name: found.divergence([name], bits) for name in names} for bits in BITS}
    whole = {bits: sum(each.values()) for bits, each in by_bits.items()}
    worst = sorted(by_bits[4], key=by_bits[4].__getitem__, reverse=True)[:3]
    return {
        "summary": f"expected divergence with all of {len(names)} matrices at 4 bits "
        f"{whole[4]:.3g} nats per token, at 8 bits {whole[8]:.3g}, over {found.tokens} tokens; "
        f"largest at 4 bits: {', '.join(f'{name} {by_bits[4][name]:.2g}' for name in worst)}",
        "texts": texts,
        "tokens": found.tokens,
    }
