"""Olive's passes on ONNX networks become ``onnx_export``, ``onnx_optimize`` and the quantizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args, get_type_hints

from paretune.config.olive.adapters import Environment
from paretune.config.olive.entries import Ledger, Status
from paretune.config.olive.fields import (
    Rule,
    apply,
    flag,
    ignores,
    nearly,
    one_of,
    only,
    refused,
    takes,
    texts,
    whole,
)
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.passes.onnx.optimize import OptimizeParams

_OWN_FILES = ignores("paretune stores weights beside the file where protobuf cannot hold them")
EXTERNAL = dict.fromkeys(
    (
        "save_as_external_data",
        "all_tensors_to_one_file",
        "external_data_name",
        "size_threshold",
        "convert_attribute",
    ),
    _OWN_FILES,
)
_EXPORT: dict[str, Rule] = {
    "target_opset": takes("opset", whole),
    "use_dynamo_exporter": takes("dynamo", flag),
    "torch_dtype": only(
        "float32", why="paretune exports in fp32", otherwise="paretune exports in fp32"
    ),
    "dynamic": only(True, why="sizes stay open", otherwise="paretune leaves sizes open"),
    "device": nearly("paretune exports on the processor"),
    "optimize": nearly("the exporter's own folding of constants stays on"),
    "parallel_jobs": ignores("one network is exported"),
    "merge_adapter_weights": ignores("the model has no adapter"),
    "save_metadata_for_token_generation": ignores("the model generates no tokens"),
    "past_key_value_name": ignores("the model has no cache"),
    "use_device": nearly("paretune exports on the processor"),
    **EXTERNAL,
}
_FAMILIES = get_args(get_args(get_type_hints(OptimizeParams)["fusions"])[0])
_OPTIMIZE: dict[str, Rule] = {
    "model_type": takes("fusions", one_of(**{name: name for name in _FAMILIES})),
    "num_heads": takes("num_heads", whole),
    "hidden_size": takes("hidden_size", whole),
    "opt_level": nearly("the fusions of the library alone; the session optimizes when it loads"),
    "only_onnxruntime": only(
        False, why="Olive's default", otherwise="the session optimizes when it loads"
    ),
    "float16": only(False, why="Olive's default", otherwise="expected true or false, one of them"),
    "use_gpu": nearly(
        "the fusions are the same; the session optimizes for its provider when it loads",
        same=(False,),
    ),
    "use_gqa": only(False, why="Olive's default", otherwise="paretune replaces no attention"),
    "input_int32": only(False, why="Olive's default", otherwise="types of inputs stay"),
    "optimization_options": refused("paretune uses the library's own choice of fusions"),
    **dict.fromkeys(
        ("keep_io_types", "force_fp32_ops", "force_fp32_nodes", "force_fp16_inputs"),
        ignores("Olive reads it only with float16"),
    ),
    **EXTERNAL,
}
_HALVED: dict[str, Rule] = {
    "float16": only(True, why="onnx_float16 follows", otherwise="expected true or false"),
    "keep_io_types": takes("keep_io_types", flag),
    "force_fp32_ops": takes("op_block_list", texts),
    "force_fp32_nodes": takes("node_block_list", texts),
    "force_fp16_inputs": refused("paretune keeps inputs of operators that must be fp32"),
}
"""What Olive's optimizer reads with ``float16``."""
_FLOAT16: dict[str, Rule] = {
    "keep_io_types": takes("keep_io_types", flag),
    "op_block_list": takes("op_block_list", texts),
    "node_block_list": takes("node_block_list", texts),
    **dict.fromkeys(("min_positive_val", "max_finite_val"), nearly("the converter's own limits")),
    "disable_shape_infer": nearly("shapes are inferred where the converter needs them"),
    "use_gpu": ignores("the conversion is the same"),
    **EXTERNAL,
}
_SCALES = {
    "block_size": takes("block_size", whole, searched=True),
    "accuracy_level": takes("accuracy_level", whole),
    "bits": takes("bits", whole),
    "axis": only(0, why="Olive's default", otherwise="blocks lie along the rows of a product"),
    "nodes_to_include": only(
        [], why="every product with stored weights", otherwise="name those that stay instead"
    ),
    "op_types_to_quantize": only(
        ["MatMul"], why="what paretune quantizes", otherwise="paretune quantizes products only"
    ),
    "quant_axes": refused("blocks lie along the rows of a product"),
    "weight_only_quant_configs": refused("give block_size, is_symmetric and bits themselves"),
    **EXTERNAL,
}
_WEIGHTS: dict[str, Rule] = {
    **_SCALES,
    "is_symmetric": takes("symmetric", flag, searched=True),
    "algorithm": takes("algorithm", one_of(RTN="rtn", DEFAULT="rtn", HQQ="hqq", k_quant="k_quant")),
    "nodes_to_exclude": takes("nodes_to_exclude", texts),
}
_GENAI_WEIGHTS: dict[str, Rule] = {
    **_SCALES,
    "is_symmetric": takes("is_symmetric", flag, searched=True),
    "algorithm": takes("algorithm", one_of(RTN="rtn", DEFAULT="default", HQQ="hqq")),
    "nodes_to_exclude": takes("exclude", texts),
}
_EMBEDDINGS = "Olive rounds the embedding too; here it keeps its precision"


def export(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_export``."""
    found = apply(_EXPORT, config.settings, around.ledger, at, of="OnnxConversion")
    return _with_defaults(
        found,
        {"dynamo": ("use_dynamo_exporter", False), "opset": ("target_opset", 20)},
        config,
        at,
        around.ledger,
    )


def optimize(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_optimize``: of BERT's family, unless it is named."""
    found = apply(_OPTIMIZE, config.settings, around.ledger, at, of="OrtTransformersOptimization")
    if "fusions" not in found:
        found["fusions"] = "bert"
        around.ledger.absent(
            (*config.settings.path, "model_type"),
            (*at, "fusions"),
            "Olive reads it from the model; bert here, which fits most encoders",
            Status.APPROXIMATED,
        )
    return found


def halves(config: PassConfig) -> bool:
    """Return whether Olive's optimizer converts to 16 bits too, after its fusions."""
    return config.settings.peek("float16") is True


def halved(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Take what Olive's optimizer reads with ``float16``; return parameters of ``onnx_float16``."""
    settings = config.settings.split(_HALVED)
    found = apply(_HALVED, settings, around.ledger, at, of="OrtTransformersOptimization")
    return _with_defaults(
        found, {"keep_io_types": ("keep_io_types", True)}, config, at, around.ledger
    )


def float16(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_float16``."""
    found = apply(_FLOAT16, config.settings, around.ledger, at, of="OnnxFloatToFloat16")
    return _with_defaults(
        found, {"keep_io_types": ("keep_io_types", False)}, config, at, around.ledger
    )


def weights(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``onnx_weight_only``."""
    return _weights(_WEIGHTS, "symmetric", config, at, around)


def genai_weights(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    """Return the parameters of ``matmul_nbits``, for a build of ONNX Runtime GenAI."""
    return _weights(_GENAI_WEIGHTS, "is_symmetric", config, at, around)


def _weights(
    rules: Mapping[str, Rule], symmetric: str, config: PassConfig, at: Path, around: Environment
) -> dict[str, Json]:
    found = apply(
        rules,
        config.settings,
        around.ledger,
        at,
        of="weight-only quantization",
        searching=around.searching,
    )
    by_rtn = isinstance(config.type and config.type.value, str) and (
        str(config.type and config.type.value).lower() == "onnxblockwisertnquantization"
    )
    defaults: dict[str, tuple[str, Json]] = {
        "block_size": ("block_size", 128 if by_rtn else 32),
        symmetric: ("is_symmetric", True),
    }
    if by_rtn:
        defaults["algorithm"] = ("algorithm", "rtn")
        around.ledger.absent(
            (*config.settings.path, "axis"), None, _EMBEDDINGS, Status.APPROXIMATED
        )
    return _with_defaults(found, defaults, config, at, around.ledger)


def _with_defaults(
    found: dict[str, Json],
    defaults: Mapping[str, tuple[str, Json]],
    config: PassConfig,
    at: Path,
    ledger: Ledger,
) -> dict[str, Json]:
    """Write out Olive's defaults where ours are others; each by our name, with Olive's name."""
    for name, (olives, value) in defaults.items():
        if name not in found:
            found[name] = value
            ledger.absent(
                (*config.settings.path, olives), (*at, name), f"Olive's default: {value!r}"
            )
    return found
