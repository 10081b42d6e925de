"""The pass ``onnx_mixed``: 8 bits but for the nodes that suffer most from them.

It quantizes as `onnx_static_int8` or `onnx_dynamic_int8`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from paretune.core import params as declared
from paretune.core.errors import PassError
from paretune.core.estimate import Estimate
from paretune.core.model import Model, ModelInfo
from paretune.core.params import parameter
from paretune.core.progress import Progress
from paretune.data.context import Context
from paretune.data.spec import ARRAYS
from paretune.passes.onnx import dynamic_int8, static_int8
from paretune.passes.onnx.calibration import Inputs, inputs_of
from paretune.passes.onnx.int8 import Int8Pass, excluded, not_quantized
from paretune.passes.onnx.network import FILE, copy_beside, needs_fp32, new_operators, read
from paretune.passes.onnx.node_errors import OPERATORS, node_errors
from paretune.passes.onnx.prepared import check_left, prepared

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

_STATIC_ONLY = ("calibration", "percentile", "format", "activation_type")
_SHOWN = 5
"""Nodes that the summary names."""


class MixedParams(static_int8.StaticInt8Params):
    """Those of `onnx_static_int8`, and what stays in fp32."""

    method: Literal["static", "dynamic"] = parameter(
        "static", "As onnx_static_int8 or onnx_dynamic_int8 quantizes."
    )
    budget: float = parameter(
        0.1,
        "Share of the products and convolutions that stay in fp32: those whose own output is "
        "furthest off when they are quantized.",
        unit="fraction",
        search="range",
        ge=0,
        le=1,
    )
    sensitivity_rows: int = parameter(
        4, "Rows on which each node's error is measured.", search="none", ge=1
    )


class OnnxMixed(Int8Pass):
    """Measures what 8 bits cost each product and convolution, and keeps the worst in fp32.

    With `method: static`, no other operator is quantized unless `op_types_to_quantize` names it.
    """

    name = "onnx_mixed"
    Params: ClassVar[type[declared.Params]] = MixedParams
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)

    def data(self, params: MixedParams) -> tuple[str, ...]:
        """Return the data set that it measures and calibrates on."""
        return (params.data,)

    def check(
        self, model: ModelInfo, params: MixedParams, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize, or which parameter has no effect."""
        if params.method == "dynamic":
            fields = type(params).model_fields
            for key in _STATIC_ONLY:
                if getattr(params, key) != fields[key].default:
                    return f"{key} has no effect with `method: dynamic`"
        return static_int8.unsupported(params) or needs_fp32(model)

    def estimate(self, model: ModelInfo, params: MixedParams, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copies and the quantized one."""
        return Estimate(peak_memory=800_000_000 + 5 * model.bytes)

    def run(self, model: Model, params: MixedParams, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the rows do not fit the network, the
                quantizer fails, or nothing in the network can be quantized.
        """
        import onnx

        context.progress(Progress(self.name, 0, 3, "preparing"))
        network = read(model)
        left = excluded(self.name, params, network)
        inputs = inputs_of(self.name, model, params.data, params.calibration_rows, context)
        if params.method == "static":
            network = prepared(self.name, network, context.scratch, per_channel=params.per_channel)
            check_left(self.name, left, network)

        if params.method == "static" and not params.op_types_to_quantize:
            # Sums and the like, whose errors nobody measured, may cost more than all products.
            params = params.model_copy(update={"op_types_to_quantize": sorted(OPERATORS)})

        def quantize(
            part: Any, runs: Sequence[Inputs], copy: Path, out: Path, kept: Sequence[str] = left
        ) -> None:
            if params.method == "static":
                static_int8.quantize(self.name, part, runs, params, kept, copy, out)
            else:
                dynamic_int8.quantize(self.name, part, params, kept, copy, out)

        context.progress(Progress(self.name, 1, 3, "measuring each node"))
        wanted = set(params.op_types_to_quantize) or OPERATORS
        others = [node.name for node in network.graph.node if node.op_type not in wanted]
        few = inputs[:: max(1, -(-len(inputs) // params.sensitivity_rows))]
        errors = node_errors(self.name, network, few, [*left, *others], quantize, context.scratch)
        if not errors:
            raise PassError(
                not_quantized(self.name),
                hint="It quantizes products and convolutions with stored weights "
                f"({', '.join(sorted(OPERATORS))}).",
            )
        kept = _furthest(errors, params.budget)
        context.progress(Progress(self.name, 2, 3, "quantizing"))
        out = context.out / FILE
        quantize(network, inputs, context.scratch / FILE, out, [*left, *kept])
        built = onnx.load(str(out), load_external_data=False)
        if not new_operators(built, network):
            raise PassError(
                not_quantized(self.name), hint="A smaller `budget` leaves fewer nodes in fp32."
            )
        copy_beside(model, context.out)
        context.details["summary"] = _summary(errors, kept)
        context.progress(Progress(self.name, 3, 3))


def _furthest(errors: Mapping[str, float], budget: float) -> list[str]:
    """Return the share of the nodes with the largest errors; of equal ones the first."""
    return sorted(errors, key=lambda name: -errors[name])[: round(budget * len(errors))]


def _summary(errors: Mapping[str, float], kept: Sequence[str]) -> str:
    """Return what stays in fp32, as a sentence."""
    told = f"{len(kept)} of {len(errors)} products and convolutions stay in fp32"
    if not kept:
        return f"{told}; the largest error of a node is {max(errors.values()):.3g}."
    named = ", ".join(f"{name} ({errors[name]:.3g})" for name in kept[:_SHOWN])
    more = ", ..." if len(kept) > _SHOWN else ""
    rest = [error for name, error in errors.items() if name not in kept]
    beyond = f"; the largest error of another one is {max(rest):.3g}" if rest else ""
    return f"{told}: {named}{more}{beyond}."
