"""Olive's 8-bit quantizers become ``onnx_static_int8`` and ``onnx_dynamic_int8``."""

from __future__ import annotations

from paretune.config.olive.adapters import Environment
from paretune.config.olive.entries import Status
from paretune.config.olive.fields import (
    Rule,
    apply,
    flag,
    ignores,
    missing,
    nearly,
    one_of,
    only,
    refused,
    takes,
    texts,
    whole,
)
from paretune.config.olive.networks import EXTERNAL
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json

_TYPES = one_of(
    int8="QInt8", uint8="QUInt8", Int8="QInt8", UInt8="QUInt8", QInt8="QInt8", QUInt8="QUInt8"
)
_COMMON: dict[str, Rule] = {
    "per_channel": takes("per_channel", flag, searched=True),
    "reduce_range": takes("reduce_range", flag, searched=True),
    **dict.fromkeys(("precision", "weight_type"), Rule(_TYPES, "weight_type", searched=True)),
    "nodes_to_exclude": takes("nodes_to_exclude", texts),
    "op_types_to_quantize": takes("op_types_to_quantize", texts),
    "quant_preprocess": nearly("shapes are inferred and constants folded where it helps"),
    **dict.fromkeys(
        ("op_types_to_exclude", "nodes_to_quantize", "append_first_op_types_to_quantize_list"),
        refused("name `op_types_to_quantize` and `nodes_to_exclude` instead"),
    ),
    **dict.fromkeys(
        ("extra_options", "tensor_quant_overrides", "weight_symmetric", "activation_symmetric"),
        refused("paretune leaves it to the quantizer"),
    ),
    "min_real_range": nearly("the quantizer's own"),
    **EXTERNAL,
}
_STATIC: dict[str, Rule] = {
    **_COMMON,
    "activation_type": Rule(_TYPES, "activation_type", searched=True),
    "calibrate_method": takes(
        "calibration",
        one_of(MinMax="minmax", Entropy="entropy", Percentile="percentile"),
        searched=True,
    ),
    "quant_format": takes("format", one_of(QDQ="qdq", QOperator="qoperator"), searched=True),
    "max_calib_samples": takes("calibration_rows", whole),
    "prepare_qdq_config": ignores("only what QNN takes is prepared differently"),
    "calibration_providers": only(
        ["CPUExecutionProvider"], why="where it runs", otherwise="calibration runs on cpu"
    ),
}
_OF_STATIC = (
    "activation_type",
    "calibrate_method",
    "quant_format",
    "calibration_providers",
    "prepare_qdq_config",
    "data_config",
)
_DYNAMIC: dict[str, Rule] = {
    **_COMMON,
    **dict.fromkeys(_OF_STATIC, ignores("Olive reads it for static quantization only")),
}
_MODE = only("static", "dynamic", why="which pass it is", otherwise="expected static or dynamic")


def is_dynamic(config: PassConfig) -> bool:
    """Return whether a pass that quantizes in either way does so without calibration."""
    return bool(config.settings.peek("quant_mode") == "dynamic")


def int8(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of the pass that ``quant_mode`` names."""
    translate = dynamic_int8 if is_dynamic(config) else static_int8
    return translate(config, at, around)


def dynamic_int8(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_dynamic_int8``."""
    return apply(
        {**_DYNAMIC, "quant_mode": _MODE},
        config.settings,
        around.ledger,
        at,
        of="dynamic quantization",
        searching=around.searching,
    )


def static_int8(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_static_int8``, with the data that Olive calibrates on."""
    ledger, settings = around.ledger, config.settings
    node = settings.take("data_config")
    found: dict[str, Json] = {}
    if node is None or node.value is None:
        missing(ledger, settings, "data_config", "calibration needs data", node)
    else:
        reference = around.data.reference(node, (*at, "data"))
        found = {} if reference is None else {"data": reference}
    found |= apply(
        {**_STATIC, "quant_mode": _MODE},
        settings,
        ledger,
        at,
        of="static quantization",
        searching=around.searching,
    )
    if "activation_type" not in found:
        found["activation_type"] = "QInt8"
        ledger.absent(
            (*settings.path, "activation_type"),
            (*at, "activation_type"),
            "Olive's default: int8",
            Status.ADDED,
        )
    return found
