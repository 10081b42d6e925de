"""What a machine behind ssh is prepared for, and what of that cannot be."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from paretune.core import packages
from paretune.core.errors import UsageError
from paretune.core.packages import TOKENIZERS, WORKER
from paretune.registry import BUILTIN, find_pass
from paretune.targets.launchers import wish as wishes
from paretune.targets.launchers.wish import Wish, buildable_passes, module_of, name_of


def names(wish: Wish) -> list[str]:
    return [name_of(each) for each in wish.requirements()]


def test_a_machine_that_measures_needs_a_worker_and_its_runtimes() -> None:
    genai = Wish(runtimes=("genai",)).requirements()
    assert {*WORKER, *TOKENIZERS, "onnxruntime", "onnxruntime-genai"} == set(map(name_of, genai))
    assert {*WORKER, "onnxruntime"} == set(names(Wish(runtimes=("onnxruntime",))))
    assert all("==" in each for each in genai), "the versions that are installed here"
    assert "torch" in names(Wish(runtimes=["torch"]))


def test_evaluators_bring_their_packages() -> None:
    wanted = names(Wish(runtimes=("onnxruntime",), evaluators=("regression", "footprint")))
    assert {*WORKER, "onnxruntime", "scikit-learn"} == set(wanted)
    with pytest.raises(UsageError, match="no evaluator named 'regresion'"):
        Wish(evaluators=("regresion",)).check()
    with pytest.raises(UsageError, match="--evaluator and --gpu choose what a machine measures"):
        Wish(does="build", evaluators=("regression",)).check()


def test_a_machine_that_builds_has_the_packages_of_all_passes_in_the_versions_of_this_one() -> None:
    pytest.importorskip("torch")
    wanted = Wish(does="build").requirements()
    assert f"torch=={version('torch')}" in wanted, "the mark of the build is part of the keys"
    for name in buildable_passes():
        for package in find_pass(name).packages:
            assert f"{package}=={version(package)}" in wanted
    both = names(Wish(does="both", runtimes=("torch",)))
    assert len(both) == len(set(both)), "none has two versions"
    assert {"accelerate", "onnxscript", *WORKER, *TOKENIZERS} <= set(both)


def test_a_gpu_gets_the_other_variant_of_each_runtime() -> None:
    wanted = Wish(gpu=True).requirements()
    found = {name_of(each): each for each in wanted}
    assert {"onnxruntime-gpu", "onnxruntime-genai-cuda"} <= found.keys()
    assert not {"onnxruntime", "onnxruntime-genai"} & found.keys()
    assert found["onnxruntime-genai-cuda"] == "onnxruntime-genai-cuda==0.18.0"
    assert module_of("onnxruntime-genai-cuda") == "onnxruntime_genai"
    assert module_of("onnxruntime-gpu") == "onnxruntime"
    assert module_of("onnx-ir") == "onnx_ir"


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"runtimes": ["gena"]}, "no runtime named 'gena'\n.*'genai'"),
        ({"does": "build", "runtimes": ["torch"]}, "this one only builds\n.*--does both"),
        ({"does": "build", "gpu": True}, "this one only builds"),
        ({"does": "both", "gpu": True}, "onnxruntime and onnxruntime-gpu overwrite .*\n.*two targ"),
    ],
)
def test_what_cannot_be_is_refused(wish: dict[str, Any], told: str) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match=told):
        Wish(**wish).check()


def test_no_machine_can_build_for_one_that_has_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    assert wishes.buildable_passes() == ()
    with pytest.raises(UsageError, match=r"no pass can run on this machine(?s:.*)paretune\["):
        Wish(does="build").check()
    monkeypatch.undo()
    assert set(buildable_passes()) <= BUILTIN["passes"].keys()
