"""Which packages the jobs of a search use, by what its passes, evaluators and runtimes declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.config import load
from paretune.core.packages import TOKENIZERS, UsedPackages
from paretune.models.handle import detect_kind
from paretune.passes.genai.genai import Genai
from paretune.preflight.packages import used_packages
from paretune.registry import find_pass
from tests.onnx_networks import write_network
from tests.tiny_models import make_tiny_llama


def used(folder: Path, **config: Any) -> UsedPackages:
    (folder / "w.txt").write_text("the quick brown fox\n" * 40)
    common = {
        "model": "model",
        "target": {"threads": [1]},
        "objectives": {"minimize": "size_mb"},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump({**common, **config}))
    plan = load(folder / "c.yaml")
    return used_packages(plan, detect_kind(plan.model))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    write_network(tmp_path / "model", width=64, classes=64)
    return tmp_path


def test_a_study_of_a_network_uses_no_pytorch(network: Path) -> None:
    evaluate = [{"latency": {"shapes": {"x": [1, 64]}}}, "footprint"]
    passes = [{"onnx_dynamic_int8": {"per_channel": [False, True]}, "optional": True}]
    found = used(network, passes=passes, evaluate=evaluate)
    assert found.build == frozenset({*find_pass("onnx_dynamic_int8").packages, "onnxruntime"})
    assert found.measure == frozenset({"onnxruntime"})


def test_without_a_pass_nothing_is_built(network: Path) -> None:
    assert used(network, passes=[], evaluate=["footprint"]).build == frozenset()


def test_on_cuda_what_has_its_libraries_is_imported(network: Path) -> None:
    target = {"threads": [1], "providers": ["cpu", "cuda"]}
    found = used(network, passes=[], evaluate=["footprint"], target=target)
    assert found.measure == frozenset({"onnxruntime", "torch"})


def test_the_baseline_and_what_is_tried_first_count(network: Path) -> None:
    first = [{"recipe": [{"onnx_optimize": {}}]}]
    found = used(network, passes=[], evaluate=["footprint"], try_first=first)
    assert set(find_pass("onnx_optimize").packages) <= found.build


@pytest.mark.parametrize("baseline", [None, []])
def test_a_machine_that_measures_genai_needs_pytorch_for_the_unbuilt_model_alone(
    tmp_path: Path, baseline: list[Any] | None
) -> None:
    make_tiny_llama(tmp_path / "model")
    found = used(
        tmp_path,
        data={"w": {"file": "w.txt", "text": "{text}"}},
        passes=[{"genai": {"precision": ["fp32", "int8"]}}],
        evaluate=[{"perplexity": {"data": "w", "window": 32}}, "footprint"],
        **({} if baseline is None else {"baseline": baseline}),
    )
    assert {*Genai.packages, "torch", "transformers"} <= found.build
    unbuilt = set() if baseline is None else {"torch"}
    assert found.measure == frozenset({"onnxruntime-genai", *TOKENIZERS, *unbuilt})
