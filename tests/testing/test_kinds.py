"""The conformance suite of kinds of models: ours pass it, and it sees planted faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.model import Model, ModelInfo
from paretune.models.kinds.onnx import OnnxKind
from paretune.testing import check_kind
from tests.onnx_networks import write_network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("kinds") / "network")


def test_onnx_keeps_to_it(network: Path) -> None:
    check_kind("onnx", network)


@pytest.mark.parametrize(("name", "model"), [("hf", "tiny"), ("genai", "tiny_genai")])
def test_the_others_keep_to_it(name: str, model: str, request: pytest.FixtureRequest) -> None:
    found: Model = request.getfixturevalue(model)
    check_kind(name, found.path)


def _other_kind(self: Any, *_: Any) -> Any:
    return ModelInfo("hf", bytes=1)


def _only(suffix: str) -> Callable[..., Any]:
    return lambda self, folder: lambda path, is_folder: path.suffix == suffix


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"name": "other"}, "its name is other"),
        ({"folder": ""}, "folder says"),
        ({"needs_base": True}, "needs_base is True, base: None"),
        ({"matches": lambda self, folder: False}, "is not recognized"),
        ({"matches": lambda self, folder: True}, "does not exist is recognized"),
        ({"matches": lambda self, folder: folder.is_dir()}, "without a model is recognized"),
        (
            {"matches": lambda self, folder: any(folder.glob("*.onnx"))},
            r"a folder of kind genai \(genai_config.json, model.onnx\) is recognized",
        ),
        ({"counts": _only(".bin")}, "no file of the folder counts"),
        ({"problems": lambda self, folder, base: ["damaged"]}, "the model has problems: damaged"),
        ({"inspect": _other_kind}, "facts of a model of kind hf"),
        ({"decoder": lambda self, model: 3}, "decoder returns 3"),
    ],
)
def test_a_fault_is_reported(
    network: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], told: str
) -> None:
    for attribute, value in fault.items():
        monkeypatch.setattr(OnnxKind, attribute, value)
    with pytest.raises(AssertionError, match=told):
        check_kind("onnx", network)
