"""Checkpoints whose weights are quantized already: which passes take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.jsontools import Json
from paretune.model_checks.finding import Finding
from paretune.model_checks.weights import Tensors, odd_dtypes


def quantization_of(config: Mapping[str, Json]) -> str | None:
    """Return how a checkpoint says that it is quantized (``quant_method``); None: it is not.

    Where the method is not named, its settings tell it: older bitsandbytes ones.
    """
    settings = config.get("quantization_config", config.get("compression_config"))
    if not isinstance(settings, dict) or not settings:
        return None
    method = settings.get("quant_method") or settings.get("quant_algo")
    if isinstance(method, str) and method:
        return method.lower()
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    return "unknown"


def check_dtypes(
    folder: Path, config: Mapping[str, Json], files: Mapping[str, Tensors]
) -> Iterator[Finding]:
    """Yield matrices of whole or 8-bit numbers where nothing says what they stand for."""
    if quantization_of(config) is not None:
        return
    for dtype, tensor in sorted(odd_dtypes(files).items()):
        yield Finding(
            f"{folder}: the matrix {tensor} has dtype {dtype}, and config.json has no "
            "quantization_config that says what its numbers stand for",
            "Give the model with weights in fp32, fp16 or bf16.",
        )
