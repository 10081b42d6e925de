"""The pass ``onnx_dynamic_int8``: weights in 8 bits, activations quantized while it runs.

The library is ONNX Runtime's own quantizer (``onnxruntime.quantization.quantize_dynamic``).
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.models.onnx_files import network_file
from paretune.passes.base import PassBase

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

# What belongs to a model beside its network: tokenizer, labels, processor settings.
_COPIED = frozenset({".json", ".txt", ".model"})


class DynamicInt8Params(declared.Params):
    """Names and meanings are those of ``quantize_dynamic``."""

    weight_type: Literal["QInt8", "QUInt8"] = parameter("QInt8", "Type of the stored weights.")
    per_channel: bool = parameter(False, "One scale per output channel instead of per tensor.")
    reduce_range: bool = parameter(
        False, "7-bit weights, which processors with AVX2 or AVX-512 without VNNI need."
    )
    nodes_to_exclude: list[str] = parameter(
        [], "Names of nodes that keep their precision.", search="none"
    )


class OnnxDynamicInt8(PassBase):
    """Quantizes the weights of matrix products, convolutions and recurrent layers."""

    name = "onnx_dynamic_int8"
    version = 2
    accepts = frozenset({ModelKind.ONNX})
    produces = ModelKind.ONNX
    Params: ClassVar[type[declared.Params]] = DynamicInt8Params
    packages = ("onnxruntime", "onnx")

    def fidelity(self, params: DynamicInt8Params) -> Fidelity:
        """Return that it approximates."""
        return Fidelity.QUANTIZED

    def estimate(self, model: ModelInfo, params: DynamicInt8Params, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copy and the quantized one."""
        return Estimate(peak_memory=400_000_000 + 4 * model.bytes)

    def run(self, model: Model, params: DynamicInt8Params, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the quantizer fails, or nothing in the
                network can be quantized.
        """
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        file, out = network_file(model.path), context.out / "model.onnx"
        context.progress(Progress(self.name, 0, 1))
        source = onnx.load(str(file), load_external_data=False)
        names = {node.name for node in source.graph.node}
        missing = sorted(set(params.nodes_to_exclude) - names)
        if missing:
            raise PassError(
                f"{self.name}: nodes_to_exclude: the network has no node named {missing[0]!r}",
                hint=f"It has {len(names)} nodes, such as {', '.join(sorted(names)[:5])}.",
            )
        root = logging.getLogger()
        before = root.level
        root.setLevel(logging.ERROR)  # it advises other tools of its own
        try:
            quantize_dynamic(
                str(file),
                str(out),
                weight_type=QuantType[params.weight_type],
                per_channel=params.per_channel,
                reduce_range=params.reduce_range,
                nodes_to_exclude=list(params.nodes_to_exclude),
                use_external_data_format=_is_large(source, file.stat().st_size),
            )
        except Exception as error:  # the quantizer raises whatever its many parts do
            raise PassError(f"{self.name}: ONNX Runtime's quantizer fails: {error}") from error
        finally:
            root.setLevel(before)
        built = onnx.load(str(out), load_external_data=False)
        if not {node.op_type for node in built.graph.node} - {n.op_type for n in source.graph.node}:
            raise PassError(
                f"{self.name}: nothing in this network was quantized",
                hint="It quantizes products with stored weights (MatMul, Gemm, Conv, LSTM, ...).",
            )
        for part in model.parts:
            if part.suffix in _COPIED and part.parent == model.path:
                shutil.copy2(part, context.out / part.name)
        context.progress(Progress(self.name, 1, 1))


def _is_large(network: Any, size: int) -> bool:
    """Return whether the weights must lie beside the file: a message holds less than 2 GB."""
    return size > 1 << 30 or any(t.data_location == 1 for t in network.graph.initializer)
