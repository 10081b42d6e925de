"""The grid that the quantizing pass after a training rounds to, as far as its parameters fix it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import ValidationError

from paretune.core.candidate import Step
from paretune.passes.genai.matmul_nbits import MatMulNBitsParams
from paretune.passes.genai.options import GenaiParams
from paretune.passes.quantization.rounding_grid import RoundingGrid

_HEAD = "/lm_head/MatMul"
_NONE_FOLLOWS = (
    "no pass after it quantizes; put `merge` and then `genai` with precision int4 or int8, or "
    "`matmul_nbits`, behind it"
)


def next_grid(following: Sequence[Step]) -> RoundingGrid | str:
    """Return the grid of the first pass that quantizes, or why a training cannot round to it.

    Args:
        following: The steps after the training.
    """
    merged = False
    for step in following:
        if step.name == "merge":
            merged = True
            continue
        try:
            if step.name == "genai" and merged:
                params = GenaiParams(**step.params)
                if not params.quantized:
                    continue
                return _of_genai(params)
            if step.name == "matmul_nbits":
                return _of_matmul_nbits(MatMulNBitsParams(**step.params))
        except ValidationError:
            return f"the parameters of {step.name} after it are refused"
        if step.name == "genai_adapter":
            return (
                "genai_adapter rounds the base without the adapter, so that the rounded sum of "
                "both is nowhere in its build; use `merge` and `genai`"
            )
        return f"`{step.name}` follows before anything is quantized, and changes the weights"
    return _NONE_FOLLOWS


def _of_genai(params: GenaiParams) -> RoundingGrid | str:
    if params.base_algorithm != "default" or params.algorithm not in (None, "default"):
        return _other_algorithm(f"genai's algorithm {params.algorithm}")
    if params.layers_at_8_bits:
        return (
            "matmul_mixed_precision gives layers other bits than their neighbours, and training "
            "rounds all layers to the same; only the head may differ (last_matmul:int8)"
        )
    excluded = params.nodes_to_exclude or []
    others = [name for name in excluded if name != _HEAD]
    if others:
        return _excluded("nodes_to_exclude", others[0])
    bits: Literal[4, 8] = 8 if params.precision == "int8" else 4
    head: Literal[4, 8] | None = 8 if params.head_at_8_bits else bits
    if excluded:
        head = None
    return RoundingGrid(
        bits=bits,
        block_size=params.block_size or 32,
        is_symmetric=params.is_symmetric is not False,
        head_bits=head,
        embedding=bits == 4 and params.shared_embeddings is not False and head is not None,
    )


def _of_matmul_nbits(params: MatMulNBitsParams) -> RoundingGrid | str:
    if params.algorithm != "default":
        return _other_algorithm(f"matmul_nbits' algorithm {params.algorithm}")
    for name, patterns in (("exclude", params.exclude), ("keep_8bit", params.keep_8bit)):
        others = [pattern for pattern in patterns if pattern != _HEAD]
        if others:
            return _excluded(name, others[0])
    head: Literal[4, 8] | None = 8 if params.keep_8bit else params.bits
    if params.exclude:
        head = None
    return RoundingGrid(
        bits=params.bits,
        block_size=params.block_size,
        is_symmetric=params.is_symmetric is not False,
        head_bits=head,
        embedding=False,
    )


def _other_algorithm(which: str) -> str:
    return (
        f"{which} chooses codes and scales in a way that training does not repeat, so that what is "
        "built would not be what was trained; use algorithm default"
    )


def _excluded(parameter: str, name: str) -> str:
    return (
        f"{parameter} names {name!r}, and training rounds all layers to the same grid; only the "
        f"head may differ ({_HEAD})"
    )
