"""The pass ``onnx_static_int8``: weights and activations in 8 bits, with ranges from data.

The library is ONNX Runtime's own quantizer (``onnxruntime.quantization.quantize_static``).
"""

from __future__ import annotations

from collections.abc import Sequence
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
from paretune.models.onnx_weights import load_network
from paretune.passes.onnx.calibration import CalibrationRows, Inputs, inputs_of
from paretune.passes.onnx.float_weights import shield_float_weights
from paretune.passes.onnx.int8 import Int8Params, Int8Pass, excluded, not_quantized
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
from paretune.passes.onnx.prepared import check_left, prepared

if TYPE_CHECKING:
    from paretune.core.device import TargetInfo

_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_FORMATS = {"qdq": "QDQ", "qoperator": "QOperator"}
_MADE = frozenset({"QuantizeLinear", "DequantizeLinear"})


class StaticParams(Int8Params):
    """Names and meanings are those of ``quantize_static``, but for the rows."""

    calibration: Literal["minmax", "entropy", "percentile"] = parameter(
        "minmax", "How the range of an activation is chosen from its values."
    )
    percentile: float | None = parameter(
        None,
        "Share of the values inside the range, in percent (calibration percentile). None: 99.999.",
        search="range",
        gt=0,
        le=100,
    )
    calibration_rows: int = parameter(128, "Rows that are run, evenly spaced.", search="none", ge=1)
    format: Literal["qdq", "qoperator"] = parameter(
        "qdq", "Pairs of operators around each value, or quantized operators."
    )
    activation_type: Literal["QUInt8", "QInt8"] = parameter("QUInt8", "Type of the activations.")


class StaticInt8Params(StaticParams):
    """Parameters of `OnnxStaticInt8`."""

    data: str = parameter(..., "Data set of arrays to calibrate on.", search="none")


class OnnxStaticInt8(Int8Pass):
    """Quantizes weights and activations; the ranges of activations come from a data set."""

    name = "onnx_static_int8"
    Params: ClassVar[type[declared.Params]] = StaticInt8Params
    reads: ClassVar[tuple[str, ...]] = (ARRAYS,)

    def data(self, params: StaticInt8Params) -> tuple[str, ...]:
        """Return the data set that it calibrates on."""
        return (params.data,)

    def check(
        self, model: ModelInfo, params: StaticInt8Params, target: TargetInfo, provider: str
    ) -> str | None:
        """Return why there is nothing to quantize, or which types do not go together."""
        return unsupported(params) or needs_fp32(model)

    def estimate(self, model: ModelInfo, params: StaticInt8Params, target: TargetInfo) -> Estimate:
        """Return the memory for the network, its copies and the quantized one."""
        return Estimate(peak_memory=600_000_000 + 5 * model.bytes)

    def run(self, model: Model, params: StaticInt8Params, context: Context) -> None:
        """Write the quantized network as ``model.onnx``.

        Raises:
            PassError: A node to exclude is not there, the rows do not fit the network, the
                quantizer fails, or nothing in the network can be quantized.
        """
        import onnx

        context.progress(Progress(self.name, 0, 2, "preparing"))
        source = read(model)
        exclude = excluded(self.name, params, source)
        inputs = inputs_of(self.name, model, params.data, params.calibration_rows, context)
        network = prepared(self.name, source, context.scratch, per_channel=params.per_channel)
        check_left(self.name, exclude, network)
        context.progress(Progress(self.name, 1, 2, f"calibrating on {len(inputs)} runs"))
        out = context.out / FILE
        quantize(self.name, network, inputs, params, exclude, context.scratch / FILE, out)
        built = onnx.load(str(out), load_external_data=False)
        made = operators(built)
        if not (_MADE & made.keys() or any(each.startswith("QLinear") for each in made)):
            raise PassError(
                not_quantized(self.name),
                hint="It quantizes no operator inside of If, Loop and Scan, and none that "
                "`op_types_to_quantize` or `nodes_to_exclude` leaves out.",
            )
        copy_beside(model, context.out)
        context.progress(Progress(self.name, 2, 2))


def unsupported(params: StaticParams) -> str | None:
    """Return which parameters the library does not take together, or which has no effect."""
    if params.activation_type == "QInt8" and params.weight_type == "QUInt8":
        return "activations in QInt8 take weights in QInt8 only"
    if params.calibration != "percentile" and params.percentile is not None:
        return "percentile has an effect with `calibration: percentile` only"
    return None


def _not_finite(inputs: Sequence[Inputs]) -> str | None:
    """Return what to do if ranges cannot be found, where that may be for what was given."""
    import numpy as np

    arrays = (array for run in inputs for array in run.values() if array.dtype.kind == "f")
    if all(bool(np.isfinite(array).all()) for array in arrays):
        return None
    return "Rows of `data` have NaN or infinity, which have no range: remove these rows."


def quantize(
    name: str,
    network: Any,
    inputs: Sequence[Inputs],
    params: StaticParams,
    exclude: Sequence[str],
    scratch: Path,
    out: Path,
) -> None:
    """Quantize a prepared network statically.

    Histograms are taken of one run after another, so that rows of different lengths go together,
    and no more than one run's activations are held.

    Args:
        name: The pass.
        network: As of `prepared`.
        inputs: Of each run of the calibration.
        params: How.
        exclude: Nodes that keep their precision.
        scratch: File for a copy of the network.
        out: File of what is made.

    Raises:
        PassError: The quantizer fails.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    write(network, scratch)
    extra = {
        "DefaultTensorType": onnx.TensorProto.FLOAT,
        "CalibPercentile": params.percentile or 99.999,
        "CalibTensorRangeSymmetric": False,
    }
    if params.calibration != "minmax":
        extra["CalibStridedMinMax"] = 1
    with library(name, "ONNX Runtime's quantizer", _not_finite(inputs)):
        quantize_static(
            str(scratch),
            str(out),
            CalibrationRows(inputs),
            quant_format=QuantFormat[_FORMATS[params.format]],
            op_types_to_quantize=list(params.op_types_to_quantize),
            per_channel=params.per_channel,
            reduce_range=params.reduce_range,
            activation_type=QuantType[params.activation_type],
            weight_type=QuantType[params.weight_type],
            nodes_to_exclude=list(exclude),
            use_external_data_format=is_large(network),
            calibrate_method=CalibrationMethod[_METHODS[params.calibration]],
            extra_options=extra,
        )
    if params.format == "qdq":
        made = load_network(out)
        if shield_float_weights(made.graph):
            write(made, out)
