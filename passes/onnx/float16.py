"""The pass ``onnx_float16``: weights and activations in 16-bit floats.

The library is ONNX Runtime's converter (``onnxruntime.transformers.float16``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.base import PassBase
from paretune.passes.onnx.network import (
    FILE,
    check_nodes,
    check_operators,
    copy_beside,
    library,
    needs_fp32,
    read,
    write,
)
from paretune.passes.onnx.tensor_types import declare_types

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo


class Float16Params(declared.Params):
    """Names and meanings are those of ``convert_float_to_float16``."""

    keep_io_types: bool = parameter(
        True, "Inputs and outputs stay in 32 bits; callers need not change."
    )
    op_block_list: list[str] = parameter(
        [], "Operators that stay in 32 bits, beside those that the library names.", search="none"
    )
    node_block_list: list[str] = parameter(
        [], "Names of nodes that stay in 32 bits.", search="none"
    )


class OnnxFloat16(PassBase):
    """Converts a network to 16-bit floats: half the size, and faster on most GPUs."""

    name = "onnx_float16"
    accepts = frozenset({ModelKind.ONNX})
    produces = ModelKind.ONNX
    Params: ClassVar[type[declared.Params]] = Float16Params
    packages = ("onnxruntime", "onnx")

    def fidelity(self, params: Float16Params) -> Fidelity:
        """Return that it computes the same in 16 bits."""
        return Fidelity.FP16

    def check(
        self, model: ModelInfo, params: Float16Params, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to convert."""
        return needs_fp32(model)

    def estimate(self, model: ModelInfo, params: Float16Params, target: TargetInfo) -> Estimate:
        """Return half the size, and the memory for the network, a loaded copy and the result."""
        return Estimate(bytes_out=model.bytes // 2, peak_memory=400_000_000 + 4 * model.bytes)

    def predict(self, model: ModelInfo, params: Float16Params) -> ModelInfo:
        """Return the facts of a network in 16 bits."""
        return replace(super().predict(model, params), precision="fp16", bytes=model.bytes // 2)

    def run(self, model: Model, params: Float16Params, context: Context) -> None:
        """Write the converted network as ``model.onnx``.

        Raises:
            PassError: A blocked node or operator is not there, the converter fails, or the network
                has nothing in fp32.
        """
        import onnx
        from onnxruntime.transformers import float16

        context.progress(Progress(self.name, 0, 1))
        network = read(model)
        check_nodes(self.name, "node_block_list", params.node_block_list, network)
        check_operators(self.name, "op_block_list", params.op_block_list, network)
        # Around a blocked node the converter puts casts where it knows the types, and it knows
        # none after a fused operator: what it built there did not load.
        declare_types(network, context.scratch)
        with library(self.name, "ONNX Runtime's converter"):
            built = float16.convert_float_to_float16(
                network,
                keep_io_types=params.keep_io_types,
                disable_shape_infer=True,
                op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *params.op_block_list],
                node_block_list=list(params.node_block_list),
            )
        halves = [onnx.TensorProto.FLOAT16]
        kinds = [tensor.data_type for tensor in built.graph.initializer]
        kinds += [info.type.tensor_type.elem_type for info in built.graph.value_info]
        if not any(kind in halves for kind in kinds):
            raise PassError(
                f"{self.name}: nothing in this network was converted",
                hint="It converts values in fp32 that no block list keeps.",
            )
        write(built, context.out / FILE)
        copy_beside(model, context.out)
        context.progress(Progress(self.name, 1, 1))
