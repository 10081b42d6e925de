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
            olive(o={"type": "OrtTransformersOptimization", "float16": [True, False]}),
            "passes.o.float16",
            "expected true or false",
        ),
        (olive(c={"type": "OnnxConversion", "target_opset": 9}), "passes.c.target_opset", "13"),
    ],
)
def test_what_is_not_translated_is_named(value: dict[str, Any], key: str, why: str) -> None:
    assert why in refused(value)[key]


def test_an_optimizer_that_halves_is_two_passes() -> None:
    half = {"type": "OrtTransformersOptimization", "model_type": "vit", "float16": True}
    more = {"force_fp32_ops": ["Softmax"], "opt_level": 0, "use_gpu": True}
    assert whole(olive(o={**half, **more}, q={"type": "OnnxMatMul4Quantizer"}))["passes"][1:3] == [
        {"onnx_optimize": {"fusions": "vit"}},
        {"onnx_float16": {"op_block_list": ["Softmax"], "keep_io_types": True}},
    ]
    assert "passes.o.force_fp16_inputs" in refused(
        olive(o={**half, "force_fp16_inputs": {"GroupNorm": [0]}})
    )


def test_one_of_two_ways_may_halve() -> None:
    plain = {"type": "OrtTransformersOptimization", "model_type": "vit"}
    both = {**olive(o=[{**plain, "float16": True}, plain]), "search_strategy": True}
    assert whole(both)["passes"][1] == {
        "any": [
            [{"onnx_optimize": {"fusions": "vit"}}, {"onnx_float16": {"keep_io_types": True}}],
            {"onnx_optimize": {"fusions": "vit"}},
        ]
    }


def test_an_onnx_model_is_the_input() -> None:
    value = {
        "input_model": {"type": "ONNXModel", "model_path": "models", "onnx_file_name": "net.onnx"},
        "passes": {
            "q": {"type": "OnnxDynamicQuantization"},
            "t": {"type": "OrtSessionParamsTuning", "intra_thread_num_list": [1, 2]},
        },
    }
    made = whole(value)
    assert made["model"] == "models/net.onnx"
    assert made["passes"] == ["onnx_dynamic_int8"]
    assert made["evaluate"] == ["latency", "footprint"]
    assert made["runtimes"] == [{"onnxruntime": {"threads": [1, 2]}}]
    exported = {**value, "passes": {"c": {"type": "OnnxConversion"}}}
    assert "what comes before it is onnx" in refused(exported)["passes.c.type"]
    settings: dict[str, Any] = {**value["input_model"], "inference_settings": {"x": 1}}
    assert "input_model.inference_settings" in refused({**value, "input_model": settings})


def test_flows_share_passes() -> None:
    """Each key has one record, in however many flows its pass is."""
    passes = {
        "o": {"type": "OrtTransformersOptimization", "model_type": "vit"},
        "t": {"type": "OrtSessionParamsTuning", "intra_thread_num_list": [1]},
        "h": {"type": "OnnxFloatToFloat16"},
    }
    value = {**olive(**passes), "search_strategy": True}
    flows = {**value, "pass_flows": [["c", "t"], ["c", "o", "t"], ["c", "o", "h", "t"]]}
    made = whole(flows)
    assert [len(way) for way in made["passes"][0]["any"]] == [1, 2, 3]
    assert made["runtimes"][0] == {"onnxruntime": {"threads": [1]}}
    twice = refused({**value, "pass_flows": [["c", "t"], ["t"]]})
    assert "a setting of the runtime in one flow and a pass in another" in twice["passes.t.type"]


def test_flows_share_a_build() -> None:
    model = {"type": "HfModel", "model_path": "models/tiny"}
    passes = {
        "c": {"type": "OnnxConversion"},
        "b": {"type": "ModelBuilder", "precision": "fp16", "metadata_only": True},
        "r": {"type": "OnnxBlockWiseRtnQuantization"},
    }
    flows = [["c", "b"], ["c", "b", "r"]]
    made = whole(
        {"input_model": model, "passes": passes, "pass_flows": flows, "search_strategy": True}
    )
    first, second = made["passes"][0]["any"]
    assert first == [{"genai": {"precision": "fp16"}}]
    assert second[0]["genai"]["precision"] == "int4"


def test_images_are_refused_for_their_script() -> None:
    data = {
        "name": "images",
        "type": "HuggingfaceContainer",
        "load_dataset_config": {"data_name": "csv", "data_files": "i.csv", "split": "train"},
        "pre_process_data_config": {"type": "dataset_pre_process", "size": 256},
    }
    passes = {"q": {"type": "OnnxStaticQuantization", "data_config": "images"}}
    found = refused({**olive("image-classification", **passes), "data_configs": [data]})
    assert list(found) == ["data_configs[0].pre_process_data_config.type"]
    assert "`read: {COLUMN: image}`" in found["data_configs[0].pre_process_data_config.type"]
