"""A PyTorch network that takes and gives named arrays, as an encoder of Hugging Face; workers only.

The runtime ``torch_arrays`` and the pass ``onnx_export`` load networks through here, so that what
is exported is what the export is compared with.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.errors import CandidateError
from paretune.core.jsontools import Json, read_model_json
from paretune.models.checkpoint import load_whole
from paretune.models.safetensors_files import is_count
from paretune.models.tasks import TASKS, folder_task

_PROCESSOR = "preprocessor_config.json"
BATCH, TOKENS, PIXELS = 2, 8, 64
"""Sizes of tensors that a network is traced with, where it leaves them open."""
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a network of tokens takes, all of it whole numbers."""
_NAMED = ", ".join(f"...{task.suffix}" for task in TASKS)


@dataclass(frozen=True)
class TorchNetwork:
    """A network in ``eval()``, on the processor.

    Attributes:
        module: The network.
        inputs: Of each input, its type as numpy calls it and its shape, with None for a size that
            is not fixed.
        tokens: Numbers in integer inputs have to be below this; 0: no limit is known.
        keyword: Whether inputs are given by name; else in the order of `inputs`.
        names: Of an input's open sizes, by axis, where the user names them.
        examples: Tensors that it certainly takes, by input; none are known where it is empty.
        program: The exported program that the module is of, if it is.
    """

    module: Any
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]]
    tokens: int = 0
    keyword: bool = True
    names: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)
    program: Any = None

    def call(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs as tensors, by name."""
        return named_outputs(self.result(tensors))

    def result(self, tensors: Mapping[str, Any]) -> Any:
        """Return what the module returns."""
        if self.keyword:
            return self.module(**tensors)
        return self.module(*(tensors[name] for name in self.inputs))

    def open_sizes(self, name: str) -> dict[int, str]:
        """Return the names of an input's open sizes, by axis."""
        _, shape = self.inputs[name]
        others = ("height", "width") if len(shape) == 4 else ("sequence",)
        called = {0: "batch", **dict(enumerate(others, start=len(shape) - len(others)))}
        called |= self.names.get(name, {})
        return {at: called.get(at, f"{name}_{at}") for at, size in enumerate(shape) if size is None}


def named_outputs(result: Any) -> dict[str, Any]:
    """Return the tensors that a network gave, by name; of several without names, by number."""
    import torch

    if isinstance(result, torch.Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        named = {str(name): value for name, value in result.items()}
    else:
        named = {f"output_{i}": value for i, value in enumerate(result)}
    return {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}


def example_tensors(network: TorchNetwork) -> dict[str, Any]:
    """Return tensors that the network is traced with: ones, drawn numbers for floats.

    Open sizes of different names are different, so that an exporter does not take them for one.
    """
    import torch

    taken: dict[str, int] = {}
    found = dict(network.examples)
    for name, (kind, shape) in network.inputs.items():
        if name in found:
            continue
        called = network.open_sizes(name)
        usual = PIXELS if len(shape) == 4 else TOKENS
        for at, size in called.items():
            if size not in taken:
                further = usual * (1 + len({*taken} - {"batch"}))
                taken[size] = BATCH if at == 0 and BATCH not in taken.values() else further
        sizes = [taken[called[at]] if size is None else size for at, size in enumerate(shape)]
        dtype = getattr(torch, kind)
        if dtype.is_floating_point:
            drawn = torch.randn(sizes, generator=torch.Generator().manual_seed(0)).to(dtype)
        else:
            drawn = torch.ones(sizes, dtype=dtype)
        found[name] = drawn
    return found


def load_encoder(
    folder: Path, trusted: bool, kind: type[CandidateError], plain: bool = False
) -> TorchNetwork:
    """Return an encoder or a vision model of Hugging Face with its weights in fp32.

    Args:
        folder: A Hugging Face folder, checked already.
        trusted: Whether its own code may run.
        kind: The error to raise.
        plain: Whether attention is computed by matrix products alone, which every opset has.

    Raises:
        CandidateError: Of `kind`: it does not load, lacks weights, needs code that is off, or takes
            inputs that are not known.
    """
    import torch

    task = folder_task(folder)
    if task is None:
        raise kind(
            f"{folder / 'config.json'}: architectures name no encoder or vision model",
            hint=f"Expected one of {_NAMED}.",
        )
    how = {"attn_implementation": "eager"} if plain else {}
    try:
        network = load_whole(folder, trusted, kind, task.auto, dtype=torch.float32, **how)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise kind(f"{folder} does not load with {task.auto}: {error}") from error
    network.eval()
    if hasattr(network.config, "use_cache"):  # of a decoder that gives features
        network.config.use_cache = False
    inputs = _inputs(network, folder, kind)
    tokens = network.config.get_text_config().vocab_size if "input_ids" in inputs else 0
    return TorchNetwork(network, inputs, tokens)


def _inputs(
    network: Any, folder: Path, kind: type[CandidateError]
) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Return what a network takes: ids of tokens with their mask, or pixels."""
    config, takes = network.config, inspect.signature(network.forward).parameters
    known = {"input_ids", "pixel_values"} & takes.keys()
    if len(known) != 1 or getattr(config, "is_encoder_decoder", False):
        raise kind(
            f"{folder}: {type(network).__name__} takes {', '.join(list(takes)[:5])}, ...",
            hint="Expected a network that takes either input_ids or pixel_values, and has no "
            "decoder of its own: export it with a tool of your own, and give the ONNX file.",
        )
    if "pixel_values" in known:
        height, width = _image_size(config, folder)
        channels = getattr(config, "num_channels", 3)
        return {"pixel_values": ("float32", (None, channels, height, width))}
    names = list(TOKEN_INPUTS)
    if getattr(config, "type_vocab_size", 0) < 2:  # as RoBERTa's: tokenizers give no types for it
        names.remove("token_type_ids")
    return {name: ("int64", (None, None)) for name in names if name in takes}


def _image_size(config: Any, folder: Path) -> tuple[int | None, int | None]:
    """Return height and width: the network's, else its processor's; None where neither says."""
    own = _size(getattr(config, "image_size", None))
    file = folder / _PROCESSOR
    if own is not None or not file.is_file():
        return own or (None, None)
    processor = read_model_json(file)
    cropped = processor.get("do_center_crop", True) and processor.get("crop_size")
    return _size(cropped) or _size(processor.get("size")) or (None, None)


def _size(value: Json) -> tuple[int, int] | None:
    """Read a size as configurations have it: a number, two, or an object; None: it is not given."""
    if isinstance(value, Mapping):
        short = value.get("shortest_edge")
        value = [value.get("height", short), value.get("width", short)]
    pair = value if isinstance(value, list | tuple) else [value, value]
    if len(pair) == 2 and all(is_count(each) and each > 0 for each in pair):
        return pair[0], pair[1]
    return None
