"""`paretune compare` of networks that take arrays: runs are timed in place of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paretune.comparing.api import compare
from paretune.comparing.subjects import open_entrants
from paretune.comparing.text import render
from paretune.comparing.workloads import Workload
from paretune.core.candidate import RuntimeSettings
from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.targets.launchers.local import LocalTarget
from tests.onnx_networks import write_network

DEVICE = TargetInfo("local", cores=2)


def test_networks_are_compared_by_the_time_of_a_run(tmp_path: Path) -> None:
    small = write_network(tmp_path / "small")
    large = write_network(tmp_path / "large", width=512)
    given = [small, large / "model.onnx"]
    with LocalTarget() as target:
        found = compare(given, rounds=1, threads=1, target=target)
        with pytest.raises(UsageError, match="no input 'z'") as refused:
            compare(given, rounds=1, threads=1, shapes={"z": [1, 8]}, target=target)
    assert "small could not be measured" in str(refused.value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["workload"] == {"shapes": {}}
    assert [row["label"] for row in found["entrants"]] == ["small", "model.onnx"]
    for row in found["entrants"]:
        assert row["metrics"].keys() == {"latency_ms_p50", "size_mb"}
        assert row["metrics"]["latency_ms_p50"]["value"] > 0
    (pair,) = found["pairs"]
    assert list(pair["metrics"]) == ["latency_ms_p50"]
    text = render(found)
    assert "ms/run" in text
    assert "tokens" not in text.partition("\n")[0]


def test_a_package_runs_with_its_own_settings(tmp_path: Path) -> None:
    model = open_model(write_network(tmp_path / "n"))
    settings = RuntimeSettings("cpu", 3, (("spinning", False),))
    package = lay_out(model, settings, tmp_path / "package", link=False)
    plain, own = open_entrants([str(model.path), str(package.path)], DEVICE)
    assert plain.runtime == RuntimeSettings("cpu", 2)
    assert own.runtime == settings
    assert [each.evaluator for each in (plain, own)] == ["latency", "latency"]
    (_, own) = open_entrants([str(model.path), str(package.path)], DEVICE, threads=1)
    assert own.runtime == RuntimeSettings("cpu", 1, (("spinning", False),))


def test_each_is_compared_on_each_provider(tmp_path: Path) -> None:
    folder = str(write_network(tmp_path / "n"))
    found = open_entrants([folder], DEVICE, providers=["cpu", "openvino"])
    assert [each.label for each in found] == ["n on cpu", "n on openvino"]
    assert [each.runtime.provider for each in found] == ["cpu", "openvino"]
    with pytest.raises(UsageError, match="expected one of cpu, cuda, dml, openvino"):
        open_entrants([folder], DEVICE, providers=["cpu", "openvin"])
    with pytest.raises(UsageError, match="needs two or more"):
        open_entrants([folder], DEVICE, providers=["cpu"])


def test_a_language_model_is_not_compared_with_a_network(tmp_path: Path) -> None:
    network = write_network(tmp_path / "n")
    model = tmp_path / "lm"
    model.mkdir()
    (model / "genai_config.json").write_text('{"model": {"decoder": {"filename": "model.onnx"}}}')
    (model / "model.onnx").write_bytes((network / "model.onnx").read_bytes())
    with pytest.raises(UsageError, match="times are not comparable"):
        open_entrants([str(network), str(model)], DEVICE)
    assert Workload().evaluator == "generation"
