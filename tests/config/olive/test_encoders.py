"""A whole configuration for an encoder: its data, what is measured, and how sessions are tuned."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.config.olive import Status
from tests.config.olive.olive_files import entry, refused, whole

DATA = {
    "name": "pairs",
    "type": "HuggingfaceContainer",
    "load_dataset_config": {"data_name": "glue", "subset": "mrpc", "split": "validation"},
    "pre_process_data_config": {"input_cols": ["sentence1", "sentence2"]},
    "dataloader_config": {"batch_size": 1},
}
ACCURACY = {
    "name": "accuracy",
    "type": "accuracy",
    "data_config": "pairs",
    "sub_types": [{"name": "accuracy", "priority": 1}, {"name": "f1"}],
}
LATENCY = {
    "name": "latency",
    "type": "latency",
    "data_config": "pairs",
    "sub_types": [
        {"name": "avg", "priority": 2, "goal": {"type": "percent-min-improvement", "value": 10}},
        {"name": "max"},
    ],
}
THROUGHPUT = {"name": "rate", "type": "throughput", "sub_types": [{"name": "avg"}]}
QUANTIZE = {"type": "OnnxQuantization", "calibrate_method": "MinMax", "data_config": "pairs"}
TUNE = {"type": "OrtSessionParamsTuning", "opt_level_list": [1, 99], "execution_mode_list": [0, 1]}


def olive(*metrics: Any, search: bool = True, **passes: Any) -> dict[str, Any]:
    return {
        "input_model": {"type": "HfModel", "model_path": "m", "task": "text-classification"},
        "data_configs": [DATA],
        "evaluators": {"e": {"metrics": list(metrics) or [ACCURACY, LATENCY, THROUGHPUT]}},
        "evaluator": "e",
        "passes": {"c": {"type": "OnnxConversion", "target_opset": 17}, **passes},
        **({"search_strategy": {"execution_order": "joint", "sampler": "tpe"}} if search else {}),
    }


def test_rows_go_through_the_models_own_tokenizer() -> None:
    assert whole(olive())["data"] == {
        "pairs": {
            "hub": "glue",
            "config": "mrpc",
            "inputs": {
                "input_ids": "sentence1",
                "token_type_ids": "sentence2",
                "attention_mask": "sentence1",
            },
            "read": {"sentence1": "text", "sentence2": "text"},
            "process": "m",
            "target": "label",
        }
    }


def test_what_is_measured() -> None:
    made = whole(olive())
    assert made["evaluate"] == [
        {"classification": {"data": "pairs.validation"}},
        {"latency": {"data": "pairs.validation", "batch_size": 1}},
    ]
    assert made["objectives"] == [{"maximize": "accuracy"}, {"minimize": "latency_ms_p50"}]
    assert made["constraints"] == ["latency_ms_p50 <= baseline * 0.9"]
    ranked = {**THROUGHPUT, "sub_types": [{"name": "avg", "priority": 1}]}
    made = whole(olive(ranked))
    assert made["evaluate"] == [{"latency": {"batch_size": 1}}]
    assert made["objectives"] == [{"maximize": "throughput_per_s"}]


def test_a_quantizer_with_its_data() -> None:
    assert whole(olive(q=QUANTIZE))["passes"][1] == {
        "onnx_static_int8": {
            "data": "pairs.validation",
            "calibration": "minmax",
            "activation_type": "QInt8",
        }
    }
    dynamic = {**QUANTIZE, "quant_mode": "dynamic", "per_channel": True, "precision": "uint8"}
    assert whole(olive(q=dynamic))["passes"][1] == {
        "onnx_dynamic_int8": {"per_channel": True, "weight_type": "QUInt8"}
    }
    assert "passes.q.data_config" in refused(olive(q={"type": "OnnxStaticQuantization"}))


def test_tuning_is_a_part_of_the_space() -> None:
    made = whole(olive(t=TUNE))
    assert len(made["passes"]) == 1
    assert made["runtimes"] == [
        {
            "onnxruntime": {
                "graph_optimization": ["basic", "all"],
                "execution_mode": ["sequential", "parallel"],
                "threads": [1, 2, 4],
            }
        },
        "torch_arrays",
    ]
    assert entry(olive(t=TUNE), "passes.t.type").into == "runtimes[0].onnxruntime"
    assert "passes.t.opt_level_list" in refused(olive(t={**TUNE, "opt_level_list": [7]}))
    before = {"t": TUNE, "c": {"type": "OnnxConversion"}}
    value = {**olive(), "passes": before}
    assert "passes.t.type" in refused(value)


@pytest.mark.parametrize("named", [True, False])
def test_data_that_the_model_names(named: bool) -> None:
    """As Olive up to 0.6 has them."""
    dataset = {"data_name": "glue", "subset": "mrpc", "split": "validation", "batch_size": 1}
    columns = {"input_cols": ["sentence1", "sentence2"], "label_cols": ["label"]}
    own = "__input_model_data_config__"
    hf = {"model_name": "m", "task": "text-classification", "dataset": {**dataset, **columns}}
    accuracy = {**ACCURACY, "data_config": own}
    if not named:
        del accuracy["data_config"]
    value = {
        "input_model": {"type": "PyTorchModel", "config": {"hf_config": hf}},
        "evaluators": {"e": {"metrics": [accuracy]}},
        "engine": {"evaluator": "e", "search_strategy": False},
        "passes": {
            "c": {"type": "OnnxConversion", "config": {"target_opset": 13}},
            "q": {"type": "OnnxQuantization", "config": {"data_config": own}},
        },
    }
    made = whole(value)
    assert made["data"].keys() == {"input_model_data"}
    assert made["evaluate"] == [{"classification": {"data": "input_model_data.validation"}}]
    assert made["passes"][1]["onnx_static_int8"]["data"] == "input_model_data.validation"


def test_openvino_is_a_provider_unless_another_is_named() -> None:
    def system(*providers: str) -> dict[str, Any]:
        each = {"device": "cpu", "execution_providers": list(providers)}
        here = {"s": {"type": "LocalSystem", "accelerators": [each]}}
        return {**olive(), "systems": here, "target": "s", "host": "s"}

    both = system("CPUExecutionProvider", "OpenVINOExecutionProvider")
    assert whole(both)["target"]["providers"] == ["cpu"]
    key = "systems.s.accelerators[0].execution_providers"
    assert entry(both, key).status is Status.APPROXIMATED
    assert whole(system("OpenVINOExecutionProvider"))["target"]["providers"] == ["openvino"]
