"""The pass ``onnx_dynamic_int8``: weights in 8 bits, activations quantized while it runs.

The library is ONNX Runtime's own quantizer (``onnxruntime.quantization.quantize_dynamic``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.model import Model, ModelInfo
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.onnx.int8 import Int8Params, Int8Pass, excluded, not_quantized
from paretune.passes.onnx.network import (
    FILE,
    as_products,
    copy_beside,
    is_large,
    library,
    needs_fp32,
    new_operators,
    read,
    write,
)

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo


class DynamicInt8Params(Int8Params):
    """Names and meanings are those of ``quantize_dynamic``."""


class OnnxDynamicInt8(Int8Pass):
    """Quantizes the weights of matrix products, convolutions and recurrent layers."""

    name = "onnx_dynamic_int8"
    version = 3
    Params: ClassVar[type[declared.Params]] = DynamicInt8Params

    def check(
        self, model: ModelInfo, params: DynamicInt8Params, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize."""
        return needs_fp32(model)

    def estimate(self, model: ModelInfo, params: DynamicInt8Params, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copies and the quantized one."""
        return Estimate(peak_memory=400_000_000 + 4 * model.bytes)

    def run(self, model: Model, params: DynamicInt8Params, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the quantizer fails, or nothing in the
                network can be quantized.
        """
        import onnx

        context.progress(Progress(self.name, 0, 1))
        source = read(model)
        exclude = excluded(self.name, params, source)
        out = context.out / FILE
        quantize(self.name, source, params, exclude, context.scratch / FILE, out)
        built = onnx.load(str(out), load_external_data=False)
        if not new_operators(built, source):
            raise PassError(
                not_quantized(self.name),
                hint="It quantizes products with stored weights (MatMul, Gemm, Conv, LSTM, ...), "
                "but none inside of If, Loop and Scan.",
            )
        copy_beside(model, context.out)
        context.progress(Progress(self.name, 1, 1))


def quantize(
    name: str, network: Any, params: Int8Params, exclude: Sequence[str], scratch: Path, out: Path
) -> None:
    """Quantize a network dynamically.

    The quantizer makes MatMul (and Add) of Gemm first, under another name, so that operators and
    nodes are named for it in that form.

    Args:
        name: The pass.
        network: Every node has a name.
        params: How.
        exclude: Nodes that keep their precision.
        scratch: File for a copy of the network.
        out: File of what is made.

    Raises:
        PassError: The quantizer fails.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    wanted = set(params.op_types_to_quantize)
    others = {"MatMul", "Gemm"} - wanted if wanted & {"MatMul", "Gemm"} else set()
    exclude = [*exclude, *(n.name for n in network.graph.node if n.op_type in others)]
    write(network, scratch)
    with library(name, "ONNX Runtime's quantizer"):
        quantize_dynamic(
            str(scratch),
            str(out),
            op_types_to_quantize=sorted({"MatMul" if op == "Gemm" else op for op in wanted}),
            weight_type=QuantType[params.weight_type],
            per_channel=params.per_channel,
            reduce_range=params.reduce_range,
            nodes_to_exclude=as_products(exclude),
            use_external_data_format=is_large(network),
            # Types after fused operators cannot be inferred.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
