"""What is installed, and how what is missing is named."""

from __future__ import annotations

import pytest

from paretune.core import packages
from paretune.core.errors import UsageError

METADATA = [
    "numpy~=2.4",
    'optuna~=5.0; extra == "search"',
    'torch==2.13.0; extra == "train"',
    'peft==0.21.2; extra == "train"',
    'torch==2.13.0; extra == "genai"',
    'onnx==1.23.2; extra == "genai"',
    'paretune[genai,search,train]; extra == "cpu"',
    'onnxruntime==1.32.0; extra == "cpu"',
    'onnxruntime-gpu>=1.31; extra == "gpu"',
]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    there = {"numpy"}
    monkeypatch.setattr(
        packages, "variants", lambda name: {each: "1" for each in there if each.startswith(name)}
    )
    monkeypatch.setattr(packages.importlib.metadata, "requires", lambda name: METADATA)
    monkeypatch.setattr(packages, "_brought_by", packages._brought_by.__wrapped__)
    return there


def test_the_extra_that_brings_it_is_proposed() -> None:
    assert packages.install_hint(["peft", "torch"]) == "Run: pip install 'paretune[train]'"
    assert packages.install_hint(["onnx"]) == "Run: pip install 'paretune[genai]'"
    assert packages.install_hint(["onnx", "peft"]) == "Run: pip install 'paretune[genai,train]'"


def test_a_runtime_comes_with_everything() -> None:
    assert packages.install_hint(["onnx", "onnxruntime"]) == "Run: pip install 'paretune[cpu]'"


def test_a_package_of_no_extra_is_named_itself() -> None:
    hint = packages.install_hint(["peft", "their-package"])
    assert hint == "Run: pip install 'paretune[train]' their-package"


def test_what_is_absent_is_refused(installed: set[str]) -> None:
    with pytest.raises(UsageError, match="the pass lora needs peft, torch, which are not") as error:
        packages.check_installed("the pass lora", ("torch", "peft", "numpy"))
    assert error.value.hint == "Run: pip install 'paretune[train]'"
    installed |= {"torch", "peft"}
    packages.check_installed("the pass lora", ("torch", "peft", "numpy"))


def test_another_variant_brings_the_same_module(installed: set[str]) -> None:
    assert packages.missing(["onnxruntime"]) == ["onnxruntime"]
    installed.add("onnxruntime-gpu")
    assert packages.missing(["onnxruntime"]) == []


def test_an_import_that_an_extra_would_bring_is_explained(installed: set[str]) -> None:
    told = packages.explained_import(ModuleNotFoundError("No module", name="torch.nn"))
    assert told is not None
    assert told.message == "this needs torch, which is not installed"
    installed.add("torch")  # it is there, and broken
    assert packages.explained_import(ModuleNotFoundError("No module", name="torch.nn")) is None


@pytest.mark.parametrize(
    "error",
    [
        ImportError("cannot import name"),
        ModuleNotFoundError("No module named 'paretune.typo'", name="paretune.typo"),
        ModuleNotFoundError("no name"),
        ValueError("another"),
    ],
)
def test_another_error_is_not(error: BaseException) -> None:
    assert packages.explained_import(error) is None
