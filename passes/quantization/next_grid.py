"""The grid that the quantizing pass after a training rounds to, as far as its parameters fix it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Literal

from pydantic import ValidationError

from paretune.core.candidate import Step
from paretune.core.jsontools import Json
from paretune.passes.genai.matmul_nbits import MatMulNBitsParams
from paretune.passes.genai.options import GenaiParams
from paretune.passes.quantization.node_bits import bits_of, head_bits
from paretune.passes.quantization.rounding_grid import HEAD, RoundingGrid

_NONE_FOLLOWS = (
    "no pass after it quantizes; put `merge` and then `genai` with precision int4 or int8, or "
    "`matmul_nbits`, behind it, or `genai_adapter` with such a precision"
)
_DEEP = 128
"""Layers. A node of a later one is not compared."""
_MATRICES = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)


def next_grid(following: Sequence[Step]) -> RoundingGrid | str:
    """Return the grid of the first pass that quantizes, or why a training cannot round to it.

    Args:
        following: The steps after the training.
    """
    merged, fuse_qkv = False, None
    for step in following:
        if step.name == "merge":
            merged = True
            continue
        if step.name == "sensitivity":  # changes no weight
            continue
        try:
            if step.name == "genai" and merged:
                params = GenaiParams(**step.params)
                if not params.quantized:
                    fuse_qkv = params.fuse_qkv
                    continue
                return _of_genai(params)
            if step.name == "genai_adapter" and not merged:
                params = GenaiParams(**step.params)
                return _of_genai(params, adapter_apart=True) if params.quantized else _NONE_FOLLOWS
            if step.name == "matmul_nbits":
                return _of_matmul_nbits(MatMulNBitsParams(**step.params), fuse_qkv)
        except ValidationError:
            return f"the parameters of {step.name} after it are refused"
        return f"`{step.name}` follows before anything is quantized, and changes the weights"
    return _NONE_FOLLOWS


def why_another(given: object, following: RoundingGrid) -> str | None:
    """Return why a build with a grid would not hold what was trained for another one, or None.

    Args:
        given: What is trained for, as the configuration has it. A malformed one differs in nothing
            here: the checks of the parameters refuse it.
        following: Of the build.
    """
    try:
        grid = RoundingGrid.model_validate(given)
    except ValidationError:
        return None
    one, other = _told(grid), _told(following)
    names = [name for name in one if name in other and one[name] != other[name]]
    if not names:
        one, other = _of_layers(grid), _of_layers(following)
        names = [path for path in one if one[path] != other[path]][:1]
    if not names:
        return None
    pairs = ", ".join(f"{name} {one[name]} and not {other[name]}" for name in names)
    return (
        f"quantize_for: what would be trained has {pairs} as the build that follows, which would "
        "hold other weights; give quantize_for: next"
    )


def _told(grid: RoundingGrid) -> dict[str, Json]:
    """Return what all layers have in common."""
    found: dict[str, Json] = {
        name: getattr(grid, name)
        for name in ("bits", "block_size", "is_symmetric", "mixed_layers", "adapter_apart")
    }
    found["bits of the head"] = head_bits(grid)
    # Models that are not tied have either; whether this one is, is not known here.
    found["embedding"] = grid.rounds_embedding
    return found


def _of_layers(grid: RoundingGrid) -> dict[str, Json]:
    """Return the bits of each matrix of a deep model, as its layers may be called.

    Which layers `mixed_layers` takes depends on their number, which is not known here: the bits
    of a matrix are given for either case. The first layer is one of them in any model.
    """
    cases = {"": False}
    if grid.mixed_layers:
        cases = {" (in a layer that is mixed)": True, " (in a layer that is not mixed)": False}
    found: dict[str, Json] = {}
    for layer, matrix in product(range(_DEEP), _MATRICES):
        path = f"layers.{layer}.{matrix}"
        for case, mixed in cases.items():
            if layer or mixed == grid.mixed_layers:
                found[path + case] = f"{bits_of(grid, path, None, mixed=mixed) or 32} bits"
    return found


def _of_genai(params: GenaiParams, *, adapter_apart: bool = False) -> RoundingGrid | str:
    if params.algorithm not in (None, "default"):
        return _other_algorithm(f"genai's algorithm {params.algorithm}")
    if params.budget:
        return (
            "genai's budget chooses each matrix's bits after the training, so that it cannot round "
            "to them; leave budget out, or use matmul_mixed_precision"
        )
    nodes: dict[str, Literal[4, 8] | None] = dict.fromkeys(params.nodes_to_exclude or ())
    if params.head_at_8_bits:
        nodes.setdefault(HEAD, 8)
    bits: Literal[4, 8] = 8 if params.precision == "int8" else 4
    wanted = params.shared_embeddings if bits == 8 else params.shared_embeddings is not False
    shared = wanted and nodes.get(HEAD, bits)
    fuse_qkv = False if adapter_apart else params.fuse_qkv
    return RoundingGrid(
        bits=bits,
        block_size=params.block_size or 32,
        is_symmetric=params.is_symmetric is not False,
        nodes=nodes,
        mixed_layers=params.layers_at_8_bits,
        fuse_qkv=_matters(fuse_qkv, nodes, params.layers_at_8_bits),
        embedding=None if bool(shared) == (bits == 4) else bool(shared),
        adapter_apart=adapter_apart,
    )


def _of_matmul_nbits(params: MatMulNBitsParams, fuse_qkv: bool | None) -> RoundingGrid | str:
    if params.algorithm != "default":
        return _other_algorithm(f"matmul_nbits' algorithm {params.algorithm}")
    nodes: dict[str, Literal[4, 8] | None] = dict.fromkeys(params.exclude)
    for pattern in params.keep_8bit:
        nodes.setdefault(pattern, 8)
    return RoundingGrid(
        bits=params.bits,
        block_size=params.block_size,
        is_symmetric=params.is_symmetric is not False,
        nodes=nodes,
        fuse_qkv=_matters(fuse_qkv, nodes, mixed=False),
        embedding=False if params.bits == 4 else None,
    )


def _matters(fuse_qkv: bool | None, nodes: Iterable[str], mixed: bool) -> bool:
    """Return whether query, key and value are one node; true where it changes nothing."""
    return fuse_qkv is not False or not (mixed or any(name != HEAD for name in nodes))


def _other_algorithm(which: str) -> str:
    return (
        f"{which} chooses codes and scales in a way that training does not repeat, so that what is "
        "built would not be what was trained; use algorithm default"
    )
