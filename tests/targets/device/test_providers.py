from __future__ import annotations

import pytest

from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.targets.device.providers import check_provider, clashes, providers_found

LAPTOP = TargetInfo("local", os="Linux 6.8", packages={"onnxruntime-genai": "0.18.0"})


def test_the_processor_is_always_there() -> None:
    assert check_provider("cpu", LAPTOP) is None


def test_cuda_is_refused_with_what_it_needs() -> None:
    why = check_provider("cuda", LAPTOP)
    assert why is not None
    assert "NVIDIA GPU with its driver" in why
    assert "onnxruntime-genai-cuda in place of onnxruntime-genai" in why


def test_only_what_is_missing_is_asked_for() -> None:
    card_only = TargetInfo("local", os="Linux 6.8", gpus=("NVIDIA H200",))
    why = check_provider("cuda", card_only)
    assert why is not None
    assert "GPU" not in why
    assert "onnxruntime-genai-cuda" in why


def test_directml_needs_windows() -> None:
    why = check_provider("dml", LAPTOP)
    assert why is not None
    assert "Windows" in why
    assert "this is Linux" in why


def test_openvino_is_refused_with_its_package() -> None:
    why = check_provider("openvino", LAPTOP)
    assert why is not None
    assert why.endswith(
        "the package onnxruntime-openvino in place of onnxruntime, in an environment of its own"
    )


def test_an_unknown_provider_gets_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cuda'"):
        check_provider("cudda", LAPTOP)


@pytest.mark.parametrize(
    ("packages", "gpus", "system", "found"),
    [
        ({}, (), "Linux", ("cpu",)),
        ({"onnxruntime-genai-cuda": "0.18.0"}, (), "Linux", ("cpu",)),
        ({}, ("NVIDIA H200",), "Linux", ("cpu",)),
        ({"onnxruntime-genai-cuda": "0.18.0"}, ("NVIDIA H200",), "Linux", ("cpu", "cuda")),
        ({"onnxruntime-genai-directml": "0.18.0"}, (), "Windows", ("cpu", "dml")),
        ({"onnxruntime-genai-directml": "0.18.0"}, (), "Linux", ("cpu",)),
        ({"onnxruntime-openvino": "1.24.1"}, (), "Linux", ("cpu", "openvino")),
    ],
)
def test_providers_found(
    packages: dict[str, str], gpus: tuple[str, ...], system: str, found: tuple[str, ...]
) -> None:
    assert providers_found(packages, gpus, system) == found
    info = TargetInfo("local", os=system, packages=packages, gpus=gpus, providers=found)
    for name in found:
        assert check_provider(name, info) is None


def test_distributions_that_bring_the_same_module_clash() -> None:
    assert clashes(["onnxruntime", "onnxruntime-genai", "numpy"]) == []
    assert clashes(["onnxruntime-gpu", "onnxruntime-genai-cuda"]) == []
    assert clashes(["onnxruntime-gpu", "onnxruntime", "onnxruntime-genai"]) == [
        ("onnxruntime", "onnxruntime-gpu")
    ]
    assert clashes(["onnxruntime-genai-cuda", "onnxruntime-genai"]) == [
        ("onnxruntime-genai", "onnxruntime-genai-cuda")
    ]
