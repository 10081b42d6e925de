"""The pass ``genai_adapter``: builds the base with ONNX Runtime GenAI, and keeps the adapter apart.

The adapter's matrices become optional inputs of the graph. Without an adapter they have rank zero,
and the model computes what its base does; ONNX Runtime fills them from a file when an adapter is
active (https://onnxruntime.ai/docs/genai/tutorials/finetune.html). The base's files depend on the
base, the precision and the target modules only: several adapters share them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.onnx_weights import load_network
from paretune.passes.genai.genai import Genai, build, sketch
from paretune.passes.genai.graph_file import GRAPH, rewrite
from paretune.passes.genai.options import GenaiParams
from paretune.passes.lora.lora import widths_of_layers
from paretune.runtimes.genai_adapters import add_adapter

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

NAME = "tuned"
"""What the adapter is called in its package."""

_MATRICES = ("lora_A", "lora_B")
_SMALL = 1024
"""Tensors below so many bytes stay in the graph's file, as the builder has them."""


class GenaiAdapter(Genai):
    """Builds an ONNX Runtime GenAI model with its adapter in a file of its own."""

    name = "genai_adapter"
    version = 3
    accepts = frozenset({ModelKind.HF_ADAPTER})
    packages = (*Genai.packages, "peft")

    def sketch(
        self, model: Model, params: GenaiParams, context: Context
    ) -> tuple[Model, Model] | None:
        """Write a small base of the same structure and its build in full precision."""
        return None if model.base is None else sketch(model.base, params, context)

    def check(
        self, model: ModelInfo, params: GenaiParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why the build would not load, or what an adapter apart cannot have."""
        if params.fuse_qkv:
            return "fuse_qkv: with an adapter apart, the three projections stay apart too"
        if params.algorithm == "gptq":
            return "algorithm gptq works on a merged model: put `merge` and `genai` in its place"
        if params.budget is not None:
            return "budget is for a merged model: put `merge`, `sensitivity`, `genai` in its place"
        if model.built_with.get("use_dora"):
            return "an adapter apart cannot be a DoRA one: its base would have to be rescaled"
        apart = params.model_copy(update={"fuse_qkv": False})  # as the builder has it
        return super().check(replace(model, kind=ModelKind.HF), apart, target, provider)

    def estimate(self, model: ModelInfo, params: GenaiParams, target: TargetInfo) -> Estimate:
        """Return what the build of the base costs; the adapter stands beside it."""
        base_alone = super().estimate(model, params, target)
        if base_alone.bytes_out is None:
            return base_alone
        adapter = 4 * model.built_with.get("r", 0) * widths_of_layers(model)
        return replace(base_alone, bytes_out=int(base_alone.bytes_out + adapter))

    def run(self, model: Model, params: GenaiParams, context: Context) -> None:
        """Write the base's ONNX model, the adapter beside it, and the tokenizer.

        Raises:
            PassError: The adapter came without its base, the builder refuses, or the build holds
                no matrix of the adapter.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the first import
        from paretune.passes.genai.tokenizer import note_differences

        if model.base is None:
            raise PassError("genai_adapter: the adapter came without its base model")
        context.progress(Progress("genai_adapter", 0, 3, f"building {params.precision}"))
        excluded = [*(params.nodes_to_exclude or ()), *_nodes_of(model.path)]
        full = params.quantized
        build(
            model.base,
            params.model_copy(update={"nodes_to_exclude": excluded}) if full else params,
            context,
            adapter=model.path,
        )
        context.progress(Progress("genai_adapter", 1, 3, "taking the adapter out"))
        take_out(context.out, context.scratch)
        context.progress(Progress("genai_adapter", 2, 3, "comparing tokenizers"))
        note_differences(model.base.path, context)


def _nodes_of(adapter: Path) -> list[str]:
    """Return the names that the adapter's nodes may have in the build: they stay in fp32.

    The builder splits fused projections (Phi-3's ``qkv_proj``), and passes over names that no node
    has, so both the adapter's own module names and the split ones are given.
    """
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as weights:
        paths = [key.split(".") for key in weights.keys()]  # noqa: SIM118 - not a mapping
    outside = sorted({_module(path) for path in paths if "layers" not in path})
    if outside:
        raise PassError(
            f"genai_adapter: the adapter changes {', '.join(outside)}, and the model builder keeps "
            "an adapter of attention and MLP projections only apart",
            hint="Merge it: the pass `merge`, then `genai`.",
        )
    layers = {path[path.index("layers") + 1] for path in paths if "layers" in path}
    modules = {path[-3] for path in paths if path[-2] in _MATRICES}
    modules |= {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    return [
        f"/model/layers.{layer}/{part}/{module}/{matrix}/MatMul"
        for layer in sorted(layers, key=int)
        for part in ("attn", "mlp")
        for module in sorted(modules)
        for matrix in _MATRICES
    ]


def _module(path: list[str]) -> str:
    """Return the module that a weight of an adapter belongs to."""
    return ".".join(p for p in path[2:] if not p.startswith("lora_") and p != "weight")


def take_out(folder: Path, scratch: Path) -> None:
    """Turn the adapter's matrices in a build into inputs, and write them into a file of their own.

    Args:
        folder: A build with the adapter in it; it is rewritten.
        scratch: For a file that is moved.

    Raises:
        PassError: The build holds no matrix of an adapter.
    """
    import numpy as np
    import onnx
    import onnxruntime

    model = load_network(folder / GRAPH)
    matrices = [i for i in model.graph.initializer if _is_matrix(i.name)]
    if not matrices:
        raise PassError(
            "genai_adapter: the build holds no matrix of the adapter",
            hint="Which target modules does it have? The model builder knows the projections of "
            "attention and MLP only.",
        )
    weights = {}
    for tensor in matrices:
        weights[tensor.name] = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor))
        _make_optional(model.graph, tensor)
    # What was noted of shapes holds the rank of this adapter.
    noted = [v for v in model.graph.value_info if _is_matrix(v.name.replace("/", "."))]
    for value in noted:
        model.graph.value_info.remove(value)
    rewrite(model, folder, _SMALL)
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {name: onnxruntime.OrtValue.ortvalue_from_numpy(w) for name, w in weights.items()}
    )
    file = scratch / f"{NAME}.onnx_adapter"
    adapter.export_adapter(str(file))
    add_adapter(folder, NAME, file)


def _is_matrix(name: str) -> bool:
    return any(f".{matrix}." in name for matrix in _MATRICES)


def _make_optional(graph: Any, tensor: Any) -> None:
    """Make an initializer an input of any rank, with a matrix of rank zero where none is given."""
    from onnx import helper

    first = f".{_MATRICES[0]}." in tensor.name
    rows, columns = tensor.dims
    shape = [rows, "rank"] if first else ["rank", columns]
    empty = [rows, 0] if first else [0, columns]
    kind = tensor.data_type
    name = tensor.name
    graph.initializer.remove(tensor)
    graph.initializer.append(helper.make_tensor(name, kind, empty, []))
    graph.input.append(helper.make_tensor_value_info(name, kind, shape))
