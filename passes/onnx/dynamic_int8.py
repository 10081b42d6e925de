"""The pass ``onnx_dynamic_int8``: weights in 8 bits, activations quantized while it runs.

The library is ONNX Runtime's own quantizer (``onnxruntime.quantization.quantize_dynamic``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.base import PassBase
from paretune.passes.onnx.int8 import Int8Params, excluded, not_quantized
from paretune.passes.onnx.network import (
    FILE,
    copy_beside,
    is_large,
    library,
    needs_fp32,
    operators,
    read,
    write,
)

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo


class DynamicInt8Params(Int8Params):
    """Names and meanings are those of ``quantize_dynamic``."""


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

    def check(
        self, model: ModelInfo, params: DynamicInt8Params, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize."""
        return needs_fp32(model)

    def estimate(self, model: ModelInfo, params: DynamicInt8Params, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copies and the quantized one."""
        return Estimate(peak_memory=400_000_000 + 4 * model.bytes)

    def predict(self, model: ModelInfo, params: DynamicInt8Params) -> ModelInfo:
        """Return the facts of a network in 8 bits."""
        return replace(super().predict(model, params), precision="int8")

    def run(self, model: Model, params: DynamicInt8Params, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the quantizer fails, or nothing in the
                network can be quantized.
        """
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        context.progress(Progress(self.name, 0, 1))
        source = read(model)
        exclude = excluded(self.name, params, source)
        file, out = context.scratch / FILE, context.out / FILE
        write(source, file)
        with library(self.name, "ONNX Runtime's quantizer"):
            quantize_dynamic(
                str(file),
                str(out),
                op_types_to_quantize=list(params.op_types_to_quantize),
                weight_type=QuantType[params.weight_type],
                per_channel=params.per_channel,
                reduce_range=params.reduce_range,
                nodes_to_exclude=exclude,
                use_external_data_format=is_large(source),
                # Types after fused operators cannot be inferred.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        built = onnx.load(str(out), load_external_data=False)
        if operators(built).keys() <= operators(source).keys():
            raise PassError(
                not_quantized(self.name),
                hint="It quantizes products with stored weights (MatMul, Gemm, Conv, LSTM, ...).",
            )
        copy_beside(model, context.out)
        context.progress(Progress(self.name, 1, 1))
