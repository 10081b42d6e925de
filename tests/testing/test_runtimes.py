"""The conformance suite of runtimes: ours pass it, and it sees planted faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paretune.core.device import TargetInfo
from paretune.core.model import Model
from paretune.runtimes.onnxruntime import OnnxruntimeRuntime
from paretune.runtimes.serving import runtime_named
from paretune.testing import check_runtime
from tests.onnx_networks import write_network


def test_onnxruntime_keeps_to_it(tmp_path: Path) -> None:
    check_runtime("onnxruntime", write_network(tmp_path / "network"))


@pytest.mark.parametrize(("name", "model"), [("torch", "tiny"), ("genai", "tiny_genai")])
def test_the_others_keep_to_it(name: str, model: str, request: pytest.FixtureRequest) -> None:
    found: Model = request.getfixturevalue(model)
    check_runtime(name, found.path)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"name": "other"}, "calls itself other"),
        ({"kinds": frozenset({"onxx"})}, "no kind is registered as 'onxx'"),
        ({"offers": frozenset({"draws"})}, "offers 'draws'"),
        ({"offers": frozenset({"runs", "scores"})}, "lack methods of 'scores'"),
        ({"Settings": dict}, "Settings is a dataclass"),
        ({"sample_program": lambda self, sample: "raise SystemExit(3)"}, "sample program fails"),
        ({"configured_threads": lambda self, package: 7}, "configure writes 7 threads"),
    ],
)
def test_a_fault_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], told: str
) -> None:
    for attribute, value in fault.items():
        monkeypatch.setattr(OnnxruntimeRuntime, attribute, value)
    with pytest.raises(AssertionError, match=told):
        check_runtime("onnxruntime", write_network(tmp_path / "network"))


@pytest.mark.parametrize(
    ("name", "packages", "available"),
    [
        ("genai", {"onnxruntime-genai-cuda": "1"}, True),
        ("genai", {"onnxruntime": "1", "torch": "2"}, False),
        ("onnxruntime", {"ort-nightly-gpu": "1"}, True),
        ("onnxruntime", {"onnxruntime-openvino": "1"}, True),
        ("torch", {"onnxruntime": "1"}, False),
        ("torch", {}, True),  # a device that lists no packages
    ],
)
def test_what_a_device_lacks_is_said(name: str, packages: dict[str, str], available: bool) -> None:
    why = runtime_named(name).unavailable(TargetInfo("board", packages=packages))
    assert (why is None) == available
    assert why is None or "is not available on 'board': it needs the package" in why
