"""The pass ``onnx_export``: a PyTorch network as an ONNX file, by PyTorch's own exporters.

The library is ``torch.onnx.export``: of its two exporters, ``dynamo: true`` is the newer one.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.containment import check_model
from paretune.models.torch_module import load_module
from paretune.models.torch_network import (
    BATCH,
    TOKENS,
    TorchNetwork,
    example_tensors,
    load_encoder,
)
from paretune.passes.base import PassBase

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

_OLDEST_DYNAMO, _NEWEST_TORCHSCRIPT = 18, 20
_ATTENTION_FROM = 14
"""Opset from which on the older exporter knows PyTorch's own operator of attention."""
_MAX_MESSAGE = 2 << 30
_EXTERNAL_FROM = 1 << 30
_NOT_CARRIED = frozenset({".safetensors", ".py"})


class OnnxExportParams(declared.Params):
    """Names and meanings are those of ``torch.onnx.export``."""

    dynamo: bool = parameter(
        True, "The exporter: true captures the program with torch.export, false traces one run."
    )
    opset: int = parameter(
        18,
        "Version of the operators. ONNX Runtime's quantizers write networks that do not load where "
        "it is above 22.",
        ge=13,
        le=22,
    )


class OnnxExport(PassBase):
    """Exports an encoder or a vision model with open sizes ``batch`` and ``sequence``."""

    name = "onnx_export"
    accepts = frozenset({ModelKind.HF_ENCODER, ModelKind.MODULE, ModelKind.PT2})
    produces = ModelKind.ONNX
    Params: ClassVar[type[declared.Params]] = OnnxExportParams
    packages = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")

    def fidelity(self, params: OnnxExportParams) -> Fidelity:
        """Return that it computes what PyTorch computes, in fp32."""
        return Fidelity.FP32

    def check(
        self, model: ModelInfo, params: OnnxExportParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Refuse opsets that an exporter does not write, and what no message of protobuf holds."""
        if params.dynamo and params.opset < _OLDEST_DYNAMO:
            return f"dynamo: true writes opset {_OLDEST_DYNAMO} and later, not {params.opset}"
        if not params.dynamo and params.opset > _NEWEST_TORCHSCRIPT:
            return f"dynamo: false writes opset {_NEWEST_TORCHSCRIPT} at most, not {params.opset}"
        if not params.dynamo and 4 * model.parameters > _MAX_MESSAGE:
            return "dynamo: false writes one message of at most 2 GB; use dynamo: true"
        if model.kind == ModelKind.PT2 and not params.dynamo:
            return "dynamo: false traces modules, not exported programs; use dynamo: true"
        if model.quantized:
            return f"the weights are quantized already ({model.quantized})"
        return None

    def estimate(self, model: ModelInfo, params: OnnxExportParams, target: TargetInfo) -> Estimate:
        """Return the memory for PyTorch, the network, its graph and what is written."""
        weights = 4 * model.parameters or model.bytes
        return Estimate(bytes_out=weights or None, peak_memory=900_000_000 + 4 * weights)

    def predict(self, model: ModelInfo, params: OnnxExportParams) -> ModelInfo:
        """Return the facts of the input, in fp32."""
        return replace(super().predict(model, params), precision="fp32")

    def run(self, model: Model, params: OnnxExportParams, context: Context) -> None:
        """Write the network as ``model.onnx``, with the tokenizer's and processor's files.

        Raises:
            PassError: It does not load, PyTorch does not export it, or writes another opset.
        """
        context.progress(Progress(self.name, 0, 1))
        check_model(model.path)
        plain = params.opset < _ATTENTION_FROM
        encoder = model.kind == ModelKind.HF_ENCODER
        if encoder:
            network = load_encoder(model.path, context.trust_remote_code, PassError, plain)
        else:
            network = load_module(model.path, context.trust_remote_code, PassError)
        file = context.out / "model.onnx"
        _export(network, params, file)
        _finish(file, params.opset)
        for part in model.parts if encoder else ():
            if part.suffix not in _NOT_CARRIED and not part.name.endswith(".index.json"):
                target = context.out / part.relative_to(model.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(part, target)
        context.progress(Progress(self.name, 1, 1))


def _export(network: TorchNetwork, params: OnnxExportParams, file: Path) -> None:
    import torch

    names = list(network.inputs)
    examples = example_tensors(network)
    tensors = [examples[name] for name in names]

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        """Takes tensors in order, and gives those that the network gives, in order."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network.module

        def forward(self, *given: Any) -> tuple[Any, ...]:
            return tuple(network.call(dict(zip(names, given, strict=True))).values())

    # In training mode a wrapper would switch the network inside on again; it is in eval() itself,
    # and an exported program refuses to be told so.
    wrapped = Wrapped()
    wrapped.training = False
    with torch.inference_mode():
        outputs = network.call(dict(zip(names, tensors, strict=True)))
    how: dict[str, Any]
    if network.program is not None:
        how = {"external_data": _bytes(wrapped) > _EXTERNAL_FROM}
    elif params.dynamo:
        how = {
            "dynamic_shapes": (tuple(network.open_sizes(name) for name in names),),
            "external_data": _bytes(wrapped) > _EXTERNAL_FROM,
        }
    else:
        axes = {name: network.open_sizes(name) for name in names}
        how = {"dynamic_axes": axes | {name: _named(value) for name, value in outputs.items()}}
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                network.program or wrapped,
                () if network.program else tuple(tensors),
                str(file),
                input_names=names,
                output_names=list(outputs),
                opset_version=params.opset,
                dynamo=params.dynamo,
                verbose=False,
                **how,
            )
    except Exception as error:  # the exporters raise whatever their many parts do
        other = str(not params.dynamo).lower()
        raise PassError(
            f"onnx_export: torch.onnx.export (dynamo: {str(params.dynamo).lower()}) fails: {error}",
            hint=f"Try dynamo: {other}, the other exporter.",
        ) from error


def _bytes(module: Any) -> int:
    return sum(each.nbytes for each in module.parameters())


def _named(output: Any) -> dict[int, str]:
    """Return the names of an output's open sizes, by axis, as far as its sizes show them."""
    found = {}
    if output.ndim and output.shape[0] == BATCH:
        found[0] = "batch"
    if output.ndim == 3 and output.shape[1] == TOKENS:
        found[1] = "sequence"
    return found


def _finish(file: Path, opset: int) -> None:
    """Check the opset, and remove where in the source code each node came from.

    Raises:
        PassError: The exporter wrote another opset, as it does where it cannot convert to that one.
    """
    import onnx

    network = onnx.load(str(file), load_external_data=False)
    (written,) = (each.version for each in network.opset_import if each.domain in ("", "ai.onnx"))
    if written != opset:
        raise PassError(
            f"onnx_export: torch.onnx.export wrote opset {written}, not {opset}",
            hint=f"Set opset: {written}, or use the other exporter.",
        )
    graphs = [network.graph, *network.functions]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            graphs += [a.g for a in node.attribute if a.HasField("g")]
    for value in (*network.graph.value_info, *network.graph.input, *network.graph.output):
        del value.metadata_props[:]
    del network.metadata_props[:]
    onnx.save(network, str(file))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters say of their own inside: the comparison says what is right."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
