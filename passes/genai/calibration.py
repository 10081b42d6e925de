"""What `genai` with ``algorithm: gptq`` is calibrated on, what that costs, and where it works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paretune.core.estimate import DataSize
from paretune.core.model import Model, ModelInfo
from paretune.data.context import Context
from paretune.passes.on_texts import TextParams
from paretune.passes.quantization.node_bits import ARCHITECTURES

DAMP_PERCENT = 0.01
"""The default share of the Hessian's mean diagonal that is added to it."""
_TEXT = Path(__file__).parent.parent / "quantization" / "calibration_text.txt"
TOKENS_OF_OWN_TEXT = 3400
# From a profile of a few operations on two cores, not from whole builds; the observed seconds of a
# search correct it. One thread rounds, all of them run the network three times.
_SECONDS_A_WEIGHT = 250e-9
_SECONDS_A_TOKEN_AND_WEIGHT = 80e-12


class Calibration(TextParams):
    """The texts that a model is run on to decide how it is rounded."""


def why_no_gptq(model: ModelInfo, provider: str) -> str | None:
    """Return why gptq does not work on a model, or None."""
    if provider != "cpu":
        return f"algorithm gptq writes builds for cpu only, not for {provider}"
    if model.model_type and model.model_type not in ARCHITECTURES:
        return (
            f"algorithm gptq knows no architecture {model.model_type!r} (it knows "
            f"{', '.join(sorted(ARCHITECTURES))}); use algorithm default, rtn or k_quant"
        )
    return None


def calibration_seconds(
    model: ModelInfo, calibration: Calibration, size: Callable[[str], DataSize] | None
) -> float | None:
    """Return the expected wall seconds of gptq, beside those of the build.

    Args:
        model: What is built.
        calibration: What it is calibrated on.
        size: Returns the size of a data set; None: it is not known.
    """
    tokens: float = TOKENS_OF_OWN_TEXT
    if calibration.data is not None:
        if size is None:
            return None
        tokens = calibration.tokens(size(calibration.data))
    return rounding_seconds(model, tokens)


def rounding_seconds(model: ModelInfo, tokens: float, widths: int = 1) -> float:
    """Return the expected wall seconds of gptq.

    Args:
        model: Whose matrices are rounded.
        tokens: Of the calibration texts.
        widths: How often each matrix is rounded.
    """
    of_weights = widths * _SECONDS_A_WEIGHT
    return (of_weights + tokens * _SECONDS_A_TOKEN_AND_WEIGHT) * model.parameters


def calibration_rows(
    model: Model, calibration: TextParams, context: Context, by: str = "genai: gptq"
) -> list[list[int]]:
    """Return the token ids of the calibration texts. For workers only.

    Args:
        model: Whose tokenizer and context count.
        calibration: Which texts.
        context: With the data sets.
        by: What runs the model on them, for messages.

    Raises:
        PassError: An example cannot be rendered, or no text has two tokens.
    """
    from paretune.core.errors import PassError
    from paretune.passes.hugging_face import load_tokenizer
    from paretune.passes.texts import token_rows

    rows = token_rows(
        model,
        load_tokenizer(model.path, context),
        context,
        calibration.data,
        own=_TEXT.read_text(encoding="utf-8").split("\n\n"),
        examples=calibration.examples,
        max_length=calibration.max_length,
    )
    if not rows:
        raise PassError(
            f"{by}: no text of {calibration.data or 'the built-in text'!r} has two tokens, and the "
            "model is run on them",
            hint="Name a data set with longer texts.",
        )
    return rows
