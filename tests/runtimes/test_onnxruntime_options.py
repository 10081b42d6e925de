"""Every setting reaches ONNX Runtime, in a session of ours and in the program of a package."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.models.handle import open_model
from paretune.runtimes.onnxruntime import OnnxruntimeSettings
from paretune.runtimes.onnxruntime_options import execution_providers
from paretune.runtimes.onnxruntime_session import OnnxruntimeSession
from paretune.runtimes.package import lay_out
from paretune.runtimes.sample_program import write_sample
from paretune.runtimes.serving import load_session
from tests.onnx_networks import write_network

INTRA, INTER = "session.intra_op.allow_spinning", "session.inter_op.allow_spinning"
SETTINGS = {
    "graph_optimization": "extended",
    "execution_mode": "parallel",
    "inter_op_threads": 2,
    "arena": False,
    "memory_pattern": False,
    "spinning": False,
}


def read_back(session: Any) -> dict[str, Any]:
    """Return what ONNX Runtime says that a session's options are."""
    options = session.get_session_options()
    return {
        "graph_optimization": options.graph_optimization_level.name,
        "execution_mode": options.execution_mode.name,
        "threads": options.intra_op_num_threads,
        "inter_op_threads": options.inter_op_num_threads,
        "arena": options.enable_cpu_mem_arena,
        "memory_pattern": options.enable_mem_pattern,
        "spinning": tuple(map(options.get_session_config_entry, (INTRA, INTER))),
    }


CHANGED = {
    "graph_optimization": "ORT_ENABLE_EXTENDED",
    "execution_mode": "ORT_PARALLEL",
    "threads": 2,
    "inter_op_threads": 2,
    "arena": False,
    "memory_pattern": False,
    "spinning": ("0", "0"),
}
USUAL = {
    "graph_optimization": "ORT_ENABLE_ALL",
    "execution_mode": "ORT_SEQUENTIAL",
    "threads": 2,
    "inter_op_threads": 1,
    "arena": True,
    "memory_pattern": True,
    "spinning": ("1", "1"),
}


@pytest.mark.parametrize(("options", "wanted"), [(SETTINGS, CHANGED), ({}, USUAL)])
def test_settings_reach_a_session_and_the_program_of_a_package(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    made: list[Any] = []
    real = onnxruntime.InferenceSession

    def kept(*arguments: Any, **more: Any) -> Any:
        made.append(real(*arguments, **more))
        return made[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", kept)
    settings = RuntimeSettings("cpu", 2, tuple(options.items()))
    model = open_model(write_network(tmp_path / "n"))
    assert isinstance(load_session(model, settings), OnnxruntimeSession)
    assert read_back(made[0]) == wanted
    package = lay_out(model, settings, tmp_path / "package", link=False)
    write_sample(package.path / "sample.py", "onnx", "unused", False, 8)
    monkeypatch.setattr(sys, "argv", ["sample.py"])
    runpy.run_path(str(package.path / "sample.py"))
    assert read_back(made[1]) == wanted


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("arena", "false", "expected true or false, found 'false'"),
        ("inter_op_threads", "2", "expected a whole number, found '2'"),
        ("inter_op_threads", True, "expected a whole number, found True"),
        ("execution_mode", "paralel", "expected one of sequential, parallel"),
    ],
)
def test_a_value_of_another_type_is_refused(
    tmp_path: Path, name: str, value: object, told: str
) -> None:
    model = open_model(write_network(tmp_path / "n"))
    with pytest.raises(UsageError, match=told):
        load_session(model, RuntimeSettings("cpu", 1, ((name, value),)))


def test_openvino_gets_threads_and_precision() -> None:
    settings = {"provider": "openvino", "threads": 3, "inference_precision": "bf16"}
    (name, options), last = execution_providers(settings)
    assert (name, last) == ("OpenVINOExecutionProvider", "CPUExecutionProvider")
    assert json.loads(options["load_config"]) == {
        "CPU": {"INFERENCE_NUM_THREADS": "3", "INFERENCE_PRECISION_HINT": "bf16"}
    }
    del settings["inference_precision"]
    ((_, options), _) = execution_providers(settings)
    assert json.loads(options["load_config"])["CPU"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert execution_providers({"provider": "cpu", "threads": 1}) == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("settings", "unused"),
    [
        ({"threads": 1}, {"inter_op_threads", "spinning"}),
        ({"threads": 2}, {"inter_op_threads"}),
        ({"threads": 1, "execution_mode": "parallel"}, {"memory_pattern", "spinning"}),
        (
            {"threads": 1, "execution_mode": "parallel", "inter_op_threads": 2},
            {"memory_pattern"},
        ),
        ({"threads": 2, "execution_mode": "parallel"}, {"memory_pattern"}),
    ],
)
def test_settings_without_effect_are_named(settings: dict[str, Any], unused: set[str]) -> None:
    settings = {"provider": "cpu", **settings}
    assert OnnxruntimeSettings.without_effect(settings) == unused | {"inference_precision"}
    settings["provider"] = "openvino"
    assert OnnxruntimeSettings.without_effect(settings) == unused
