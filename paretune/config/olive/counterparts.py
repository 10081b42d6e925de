"""Which of paretune's passes corresponds to each of Olive's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paretune.config.olive.adapters import Environment, dora, lora, qlora
from paretune.config.olive.builder import genai
from paretune.config.olive.fields import apply, shown
from paretune.config.olive.networks import export, float16, genai_weights, optimize, weights
from paretune.config.olive.quantizing import dynamic_int8, int8, static_int8
from paretune.config.olive.reading import PassConfig
from paretune.config.yaml_source import Path
from paretune.core.jsontools import Json
from paretune.core.model import ModelKind

Translator = Callable[[PassConfig, Path, Environment], dict[str, Json]]


@dataclass(frozen=True)
class Counterpart:
    """The pass of paretune that corresponds to one of Olive's.

    Attributes:
        name: The pass in paretune.
        takes: The kind of its input.
        gives: The kind of its output.
        translate: Translates Olive's parameters.
    """

    name: str
    takes: str
    gives: str
    translate: Translator


def _none(config: PassConfig, at: Path, around: Environment) -> dict[str, Json]:
    return apply({}, config.settings, around.ledger, at, of=shown(config.name))


_HF, _ADAPTER, _GENAI = ModelKind.HF, ModelKind.HF_ADAPTER, ModelKind.GENAI
_ENCODER, _ONNX = ModelKind.HF_ENCODER, ModelKind.ONNX
COUNTERPARTS: Mapping[str, Counterpart] = {
    "LoRA": Counterpart("lora", _HF, _ADAPTER, lora),
    "DoRA": Counterpart("lora", _HF, _ADAPTER, dora),
    "QLoRA": Counterpart("qlora", _HF, _ADAPTER, qlora),
    "MergeAdapterWeights": Counterpart("merge", _ADAPTER, _HF, _none),
    "ModelBuilder": Counterpart("genai", _HF, _GENAI, genai),
    "OnnxConversion": Counterpart("onnx_export", _ENCODER, _ONNX, export),
    "OrtTransformersOptimization": Counterpart("onnx_optimize", _ONNX, _ONNX, optimize),
    "OnnxFloatToFloat16": Counterpart("onnx_float16", _ONNX, _ONNX, float16),
    "OnnxQuantization": Counterpart("onnx_static_int8", _ONNX, _ONNX, int8),
    "OnnxStaticQuantization": Counterpart("onnx_static_int8", _ONNX, _ONNX, static_int8),
    "OnnxDynamicQuantization": Counterpart("onnx_dynamic_int8", _ONNX, _ONNX, dynamic_int8),
    "OnnxMatMul4Quantizer": Counterpart("onnx_weight_only", _ONNX, _ONNX, weights),
    "OnnxBlockWiseRtnQuantization": Counterpart("onnx_weight_only", _ONNX, _ONNX, weights),
}
"""Olive's passes that we have; their names are compared without regard to case."""

ON_KIND: Mapping[tuple[str, str], Counterpart] = {
    ("genai", _ADAPTER): Counterpart("genai_adapter", _ADAPTER, _GENAI, genai),
    ("onnx_weight_only", _GENAI): Counterpart("matmul_nbits", _GENAI, _GENAI, genai_weights),
}
"""What stands for a pass on another kind; an adapter that is not merged stays apart."""

BY_TYPE = {name.lower(): counterpart for name, counterpart in COUNTERPARTS.items()}
