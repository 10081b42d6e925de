"""Passes on ONNX networks, by our names; what Olive does by default is written out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.olive.olive_files import flat, refused, whole

EXPORTED = {"onnx_export": {"dynamo": False, "opset": 20}}


def olive(task: str = "text-classification", **passes: Any) -> dict[str, Any]:
    model = {"type": "HfModel", "model_path": "models/tiny", "task": task}
    given = {"c": {"type": "OnnxConversion"}, **passes}
    return {**flat(), "input_model": model, "passes": given}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"type": "OrtTransformersOptimization", "model_type": "vit", "num_heads": 2},
            {"onnx_optimize": {"fusions": "vit", "num_heads": 2}},
        ),
        ({"type": "OrtTransformersOptimization"}, {"onnx_optimize": {"fusions": "bert"}}),
        (
            {"type": "OnnxFloatToFloat16", "op_block_list": ["Softmax"]},
            {"onnx_float16": {"op_block_list": ["Softmax"], "keep_io_types": False}},
        ),
        (
            {"type": "OnnxMatMul4Quantizer", "algorithm": "HQQ", "block_size": 64},
            {"onnx_weight_only": {"algorithm": "hqq", "block_size": 64, "symmetric": True}},
        ),
        (
            {"type": "OnnxBlockWiseRtnQuantization", "bits": 8, "accuracy_level": 4},
            {
                "onnx_weight_only": {
                    "bits": 8,
                    "accuracy_level": 4,
                    "block_size": 128,
                    "symmetric": True,
                    "algorithm": "rtn",
                }
            },
        ),
    ],
)
def test_a_pass_by_our_name(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert whole(olive(p=given))["passes"] == [EXPORTED, expected]


def test_the_export() -> None:
    made = whole(
        olive(c={"type": "OnnxConversion", "target_opset": 18, "use_dynamo_exporter": True})
    )
    assert made["passes"] == [{"onnx_export": {"opset": 18, "dynamo": True}}]


@pytest.mark.parametrize(
    ("value", "key", "why"),
    [
        (olive("text-to-speech"), "input_model.task", "'text-to-speech' is another task"),
        (olive(l={"type": "ModelBuilder", "precision": "int4"}), "passes.l.type", "genai takes hf"),
        (
            olive(o={"type": "OrtTransformersOptimization", "float16": True}),
            "passes.o.float16",
            "add the pass onnx_float16",
        ),
        (olive(c={"type": "OnnxConversion", "target_opset": 9}), "passes.c.target_opset", "13"),
    ],
)
def test_what_is_not_translated_is_named(value: dict[str, Any], key: str, why: str) -> None:
    assert why in refused(value)[key]
