"""Checkpoints whose weights are quantized already: which passes take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from paretune.core.jsontools import Json
from paretune.models.checks.finding import Finding
from paretune.models.checks.weights import Tensors, odd_dtypes

_RUNS = frozenset({"bitsandbytes"})
"""What PyTorch runs here as it is, though no pass takes it."""


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


def refusal(method: str, name: str) -> str:
    """Return why a pass does not take a checkpoint that is quantized already.

    Args:
        method: How it is (`quantization_of`).
        name: The pass's.
    """
    return (
        f"the model's weights are quantized already (config.json: quantization_config, {method}), "
        f"and {name} takes weights in fp32, fp16 or bf16: give the model that it was made from"
    )


def check_method(folder: Path, config: Mapping[str, Json]) -> Iterator[Finding]:
    """Yield a checkpoint whose form nothing here reads: it neither runs nor is built on."""
    method = quantization_of(config)
    if method is None or method in _RUNS:
        return
    settings = config.get("quantization_config", config.get("compression_config"))
    bits = settings.get("bits") if isinstance(settings, dict) else None
    many = f", {bits} bits" if type(bits) is int else ""
    yield Finding(
        f"{folder / 'config.json'}: quantization_config.quant_method is {method!r}{many}: the "
        "weights are quantized already, expected fp32, fp16 or bf16",
        "Give the model that it was made from; passes such as genai quantize it here.",
    )


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
