"""Writes a model folder without some of its decoder layers, and compares it with its source.

Tensors are copied from file to file: no weight is computed or converted, and embedding and head
stay tied, or apart, as the source has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from paretune.core.errors import InvalidArtifactError
from paretune.core.jsontools import Json, read_model_json, write_json
from paretune.core.model import Model
from paretune.data.context import Context
from paretune.models.safetensors_files import weights_files
from paretune.passes.layers.angular_distance import logits
from paretune.passes.lora.merge import copy_companions

_OF_A_LAYER = re.compile(r"((?:[^.]+\.)*?layers\.)(\d+)(\..+)")
_WEIGHTS = "model.safetensors"
_TOLERANCE = 1e-5
"""Of the largest logit; the same sums in the same order differ by nothing on most processors."""


def write_without(source: Model, block: range, layers: int, context: Context) -> None:
    """Write a model's folder without a block of its layers.

    Args:
        source: The model.
        block: What is left out.
        layers: How many it has.
        context: Where the folder is written.
    """
    from safetensors.torch import save_file

    with _tensors(source.path) as held:
        names = _kept(held, block, layers)
        kept = {new: held[old].get_tensor(old) for new, old in names.items()}
        save_file(kept, context.out / _WEIGHTS, metadata={"format": "pt"})
    config = config_without(read_model_json(source.path / "config.json"), block)
    write_json(context.out / "config.json", config, durable=False)
    copy_companions(source, context.out, trust_remote_code=context.trust_remote_code)


def name_without(name: str, block: range, layers: int) -> str | None:
    """Return a tensor's name in the model without the block; None: it is not part of that.

    Args:
        name: As in the source.
        block: What is left out.
        layers: How many the source has; tensors of further ones, which loading ignores, are left
            out too.
    """
    found = _OF_A_LAYER.fullmatch(name)
    if found is None:
        return name
    place = int(found[2])
    if place in block or place >= layers:
        return None
    return f"{found[1]}{place - len(block) if place > block[-1] else place}{found[3]}"


def config_without(config: dict[str, Json], block: range) -> dict[str, Json]:
    """Return the configuration of the model without the block.

    ``layer_types`` has an entry for each layer. Where ``max_window_layers`` says from which layer
    on the attention has a sliding window, dropped layers before that are subtracted.

    Args:
        config: Of the source.
        block: What is left out.
    """
    found = dict(config)
    found.pop("transformers_weights", None)  # a name of the source's files
    found["num_hidden_layers"] = config["num_hidden_layers"] - len(block)
    types, window = config.get("layer_types"), config.get("max_window_layers")
    if isinstance(types, list):
        found["layer_types"] = [kind for i, kind in enumerate(types) if i not in block]
    if type(window) is int:
        found["max_window_layers"] = window - sum(place < window for place in block)
    return found


def check_tensors(source: Model, block: range, layers: int, out: Path) -> None:
    """Require that what was written has the source's tensors, bit for bit, and no others.

    Args:
        source: The model.
        block: What was left out.
        layers: How many it has.
        out: What was written.

    Raises:
        InvalidArtifactError: A tensor differs, is missing or was added.
    """
    with _tensors(source.path) as before, _tensors(out) as after:
        expected = _kept(before, block, layers)
        if expected.keys() != after.keys():
            other = min(expected.keys() ^ after.keys())
            how = "is missing" if other in expected else "is not in the source"
            raise InvalidArtifactError(f"drop_layers: {other} {how} in what was written")
        for new, old in expected.items():
            if not _same_bits(before[old].get_tensor(old), after[new].get_tensor(new)):
                raise InvalidArtifactError(f"drop_layers: {new} is not the source's {old}")


def check_logits(network: Any, ids: Sequence[int], expected: Any, block: range) -> None:
    """Require that a network computes what its source does when the block changes nothing.

    Args:
        network: What was built.
        ids: The text.
        expected: The source's logits (`paretune.passes.layers.angular_distance.logits_without`).
        block: What was left out.

    Raises:
        InvalidArtifactError: It computes something else.
    """
    found = logits(network, ids)
    gap, most = float((found - expected).abs().max()), float(expected.abs().max())
    if not gap <= _TOLERANCE * most:
        raise InvalidArtifactError(
            f"drop_layers: without layers {block[0]} to {block[-1]} the built model's logits "
            f"differ by up to {gap:.3g} (of {most:.3g}) from those of the source with these layers "
            "skipped",
            hint="Something in config.json depends on the layers' numbers. Leave drop_layers out, "
            "and report the architecture.",
        )


def _kept(names: Iterable[str], block: range, layers: int) -> dict[str, str]:
    """Return the source's names of what is kept, by the names without the block."""
    return {new: old for old in names if (new := name_without(old, block, layers)) is not None}


@contextmanager
def _tensors(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the open file of each tensor of a folder, by the tensor's name."""
    from safetensors import safe_open

    with ExitStack() as stack:
        files = [
            stack.enter_context(safe_open(file, framework="pt")) for file in weights_files(folder)
        ]
        yield {name: file for file in files for name in file.keys()}  # noqa: SIM118 (no mapping)


def _same_bits(one: Any, other: Any) -> bool:
    import torch

    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    left, right = (each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other))
    return bool(torch.equal(left, right))
