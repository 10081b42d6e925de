"""The pass ``onnx_weight_only``: matrices in 4 or 8 bits by blocks, activations as they are.

The library is ONNX Runtime's ``MatMulNBitsQuantizer``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.fidelity import Fidelity
from paretune.core.model import Model, ModelInfo, ModelKind
from paretune.core.packages import install_hint, missing
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.passes.base import PassBase
from paretune.passes.onnx.int8 import not_quantized
from paretune.passes.onnx.network import (
    FILE,
    as_products,
    check_nodes,
    copy_beside,
    library,
    needs_fp32,
    operators,
    read,
    write,
)

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

_OPERATOR = "MatMulNBits"


_NO_PRODUCTS = (
    "It quantizes MatMul and Gemm with a stored matrix; for convolutions take onnx_dynamic_int8 or "
    "onnx_static_int8."
)
_UNFIT = (
    "k_quant at 4 bits takes matrices with an even number of blocks in a column only: try another "
    "block_size, rtn, or 8 bits."
)


class WeightOnlyParams(declared.Params):
    """Names and meanings are those of ``MatMulNBitsQuantizer``."""

    bits: Literal[4, 8] = parameter(4, "Bits of a weight.", unit="bits")
    algorithm: Literal["rtn", "hqq", "k_quant"] = parameter(
        "rtn",
        "rtn rounds to the nearest; k_quant searches scales as llama.cpp does (at 4 bits for "
        "matrices with an even number of blocks in a column; others stay in fp32); hqq is "
        "half-quadratic quantization (needs torch).",
    )
    block_size: Literal[16, 32, 64, 128, 256] = parameter(
        32, "Weights that share a scale.", unit="weights"
    )
    symmetric: bool | None = parameter(
        None, "No zero points. None: true (k_quant and hqq always have them)."
    )
    accuracy_level: Literal[0, 1, 2, 3, 4] | None = parameter(
        None,
        "What the activations are rounded to while multiplying: 1 fp32, 2 fp16, 3 bf16, 4 int8; 0 "
        "is up to the kernel (slower than fp32 on cpu). None: 4 on cpu, 0 elsewhere. Not for hqq.",
    )
    nodes_to_exclude: list[str] = parameter(
        [],
        "Names of nodes that keep their precision; a node without a name is called by its operator "
        "and place (MatMul_12).",
        search="none",
    )


class OnnxWeightOnly(PassBase):
    """Quantizes the matrices of products to 4 or 8 bits; the activations keep their precision."""

    name = "onnx_weight_only"
    version = 2
    accepts = frozenset({ModelKind.ONNX})
    produces = ModelKind.ONNX
    Params: ClassVar[type[declared.Params]] = WeightOnlyParams
    packages = ("onnxruntime", "onnx", "onnx-ir")
    provider_matters = True  # the default accuracy_level

    def fidelity(self, params: WeightOnlyParams) -> Fidelity:
        """Return that it approximates."""
        return Fidelity.QUANTIZED

    def check(
        self, model: ModelInfo, params: WeightOnlyParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize, or which parameter would change nothing."""
        if params.algorithm != "rtn" and params.symmetric is not None:
            return f"{params.algorithm} always has zero points: symmetric has no effect"
        if params.algorithm == "hqq":
            if params.accuracy_level is not None:
                return "accuracy_level has no effect with hqq"
            if params.bits == 8 and provider == "cpu":
                return "hqq at 8 bits does not load on cpu: its kernel takes no such zero points"
            if missing(["torch"]):
                return f"hqq needs torch, which is not installed. {install_hint(['torch'])}"
        return needs_fp32(model)

    def estimate(self, model: ModelInfo, params: WeightOnlyParams, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copy and the quantized one."""
        return Estimate(peak_memory=400_000_000 + 4 * model.bytes)

    def predict(self, model: ModelInfo, params: WeightOnlyParams) -> ModelInfo:
        """Return the facts of the quantized network."""
        return replace(super().predict(model, params), precision=f"int{params.bits}")

    def run(self, model: Model, params: WeightOnlyParams, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the quantizer fails, or the network has no
                product with a stored matrix.
        """
        context.progress(Progress(self.name, 0, 1))
        source = read(model)
        check_nodes(self.name, "nodes_to_exclude", params.nodes_to_exclude, source)
        level = params.accuracy_level
        if level is None:
            level = 4 if context.provider == "cpu" else 0
        with library(self.name, "ONNX Runtime's quantizer"):
            built, unfit = _quantized(source, params, level)
        if _OPERATOR not in operators(built):
            raise PassError(not_quantized(self.name), hint=_UNFIT if unfit else _NO_PRODUCTS)
        if unfit:
            context.details["summary"] = (
                f"{len(unfit)} matrices stay in fp32: k_quant at 4 bits takes an even number of "
                f"blocks of {params.block_size} only."
            )
        write(built, context.out / FILE)
        copy_beside(model, context.out)
        context.progress(Progress(self.name, 1, 1))


def _unfit(network: Any, params: WeightOnlyParams) -> list[str]:
    """Return the products whose matrix the library cannot pack.

    It packs two zero points of 4 bits into a byte, across columns: it fails where a column has an
    odd number of blocks.
    """
    if params.algorithm != "k_quant" or params.bits != 4:
        return []
    rows = {tensor.name: tensor.dims[0] for tensor in network.graph.initializer if tensor.dims}
    return [
        node.name
        for node in network.graph.node
        if node.op_type == "MatMul" and -(-rows.get(node.input[1], 0) // params.block_size) % 2
    ]


def _quantized(network: Any, params: WeightOnlyParams, level: int) -> tuple[Any, list[str]]:
    """Return the quantized network, and which products do not fit the algorithm.

    The quantizer takes MatMul, so Gemm becomes that first.
    """
    from onnxruntime.quantization import matmul_nbits_quantizer as ort
    from onnxruntime.quantization.onnx_model import ONNXModel

    whole = ONNXModel(network)
    whole.replace_gemm_with_matmul()
    whole.set_opset_import("com.microsoft", 1)
    unfit = _unfit(whole.model, params)
    config = None
    if params.algorithm == "hqq":
        config = ort.HQQWeightOnlyQuantConfig(block_size=params.block_size, bits=params.bits)
    elif params.algorithm == "k_quant":
        # Without an entry of its own a node would get 4 bits, whatever `bits` says.
        products = [node.name for node in whole.model.graph.node if node.op_type == "MatMul"]
        config = ort.KQuantWeightOnlyQuantConfig(
            customized_weight_config={name: {"bits": params.bits} for name in products}
        )
    quantizer = ort.MatMulNBitsQuantizer(
        model=whole.model,
        bits=params.bits,
        block_size=params.block_size,
        is_symmetric=params.symmetric is not False,
        accuracy_level=level,
        nodes_to_exclude=as_products([*params.nodes_to_exclude, *unfit]),
        algo_config=config,
    )
    quantizer.process()
    return quantizer.model.model, unfit
