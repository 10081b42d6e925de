"""`paretune bench MODEL`: a model on this device, as a search measures it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from paretune.bench.model import _why_no_share, bench_model, render_model
from paretune.bench.profile import make_profile
from paretune.core.candidate import RuntimeSettings
from paretune.core.device import TargetInfo
from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile
from paretune.core.errors import UsageError
from paretune.core.interference import Interference
from paretune.core.model import Model
from paretune.models.handle import inspect, open_model
from paretune.models.onnx_traffic import count
from paretune.passes.genai.genai import Genai
from paretune.runtimes.serving import traffic_of
from paretune.targets.launchers.local import LocalTarget
from tests.pass_bench import Bench, FakeCatalog
from tests.tiny_models import make_tiny_llama

FLOOR = 0.3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(make_tiny_llama(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def build(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that builds the tiny model in a precision, each once."""
    bench = Bench(tmp_path_factory.mktemp("built"), FakeCatalog({}))

    @cache
    def run(precision: str) -> Path:
        return bench.run(Genai(), tiny, {"precision": precision}, precision)

    return run


def profile_of(fingerprint: str) -> DeviceProfile:
    """The profile of a device that was measured on a quiet machine."""
    figures = [
        {"name": "timer resolution", "value": 30.0},
        {"name": "job start and end", "value": 90.0},
    ]
    noise = [{"memory": 0.01, "arithmetic": 0.02}, {"memory": 0.0101, "arithmetic": 0.0201}]
    made = make_profile(fingerprint, figures, noise, Interference())
    return replace(
        made,
        noise_floor=FLOOR,
        bandwidth=(Bandwidth(1, 1 << 20, 1e9),),
        arithmetic=(Arithmetic("fp32", 1, 64, 1e9),),
    )


def test_a_model_is_measured_in_several_processes(build: Any, tmp_path: Path) -> None:
    folder = build("fp32")
    with LocalTarget() as target:
        profile_of(target.info().fingerprint).save(tmp_path)
        measured = bench_model(folder, target, threads=1, store_root=tmp_path)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    by_name = {m["metric"]: m for m in measured["measurements"]}
    decode = by_name["decode_ms_p50"]
    assert len(decode["details"]["processes"]) == 3
    assert decode["n"] == len(decode["samples"]) > 3
    # What one process says by itself is no nearer than the device's noise floor lets it.
    own = FLOOR / 2**0.5 * decode["value"]
    assert decode["low"] <= decode["value"] - 0.99 * own
    assert decode["high"] >= decode["value"] + 0.99 * own
    assert by_name["size_mb"]["n"] == 1
    roof = measured["roofline"]
    assert roof["decode_share"] == pytest.approx(
        1e3 * roof["bytes_per_token"] / 1e9 / decode["value"]
    )
    assert roof["ttft_share"] > 0
    assert measured["no_roofline"] is None
    text = render_model(measured)
    assert "in 3 processes" in text
    assert f"{roof['decode_share']:.0%} of the roofline" in text
    assert "noise floor (30.0% between two processes)" in text


@pytest.mark.parametrize(
    ("others", "told"), [(None, "run `paretune bench --store"), (0.4, "used 40% of the processor")]
)
def test_without_a_roof_that_counts_it_is_said(
    tmp_path: Path, others: float | None, told: str
) -> None:
    profile = None if others is None else replace(profile_of("sha256:1"), others=others)
    needs = {"decode_share": None}
    assert told in str(_why_no_share(needs, profile, tmp_path))
    assert _why_no_share(needs, profile_of("sha256:1"), tmp_path) is None
    assert "not known" in str(_why_no_share(None, profile, tmp_path))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_a_built_model_reads_what_was_predicted(build: Any, tiny: Model, precision: str) -> None:
    info = Genai().predict(inspect(tiny.path), Genai.Params(precision=precision))
    predicted = traffic_of(info, RuntimeSettings())
    assert predicted is not None
    counted = count(str(build(precision)))
    assert counted is not None
    # The prediction grants norms as matrices, and leaves out what a block's last scale pads.
    assert counted["bytes_per_token"] == pytest.approx(predicted.bytes_per_token, rel=0.03)
    for name in ("operations_per_prompt_token", "operations_per_prompt"):
        assert counted[name] == pytest.approx(getattr(predicted, name), rel=0.03)
    assert counted["arithmetic"] == predicted.arithmetic
    # Keys and values of 2 layers, 2 heads, 16 wide, in 4 bytes.
    assert counted["cache_bytes"] == 2 * 2 * 2 * 16 * 4


def write_graph(folder: Path, *nodes: onnx.NodeProto, **weights: tuple[int, ...]) -> str:
    """Write a GenAI folder around a graph of some nodes and empty weights."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [
            TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT)
            for name, dims in weights.items()
        ],
    )
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    config: Mapping[str, Any] = {"model": {"decoder": {"filename": "model.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_matrix_that_is_used_twice_is_read_once(tmp_path: Path) -> None:
    folder = write_graph(
        tmp_path,
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("MatMul", ["y", "w"], ["z"]),
        helper.make_node("MatMul", ["z", "head"], ["logits"]),
        helper.make_node("Add", ["z", "w"], ["other"]),
        w=(4, 4),
        head=(4, 10),
    )
    assert count(folder) == {
        "bytes_per_token": 4 * (16 + 40),
        "operations_per_prompt_token": 2 * 2 * 16,
        "operations_per_prompt": 2 * 40,
        "arithmetic": "fp32",
        "cache_bytes": 0,
    }


def test_a_mixture_of_experts_is_not_counted(tmp_path: Path) -> None:
    folder = write_graph(
        tmp_path,
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("QMoE", ["y", "w"], ["logits"], domain="com.microsoft"),
        w=(4, 4),
    )
    assert count(folder) is None


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        bench_model(tmp_path / "nowhere")


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(UsageError, match="is an adapter") as refused:
        bench_model(tmp_path)
    assert "merge" in str(refused.value.hint)


def test_a_bare_onnx_file_is_refused(tmp_path: Path) -> None:
    write_graph(tmp_path, helper.make_node("MatMul", ["x", "w"], ["logits"]), w=(4, 4))
    (tmp_path / "genai_config.json").unlink()
    with pytest.raises(UsageError, match="of kind onnx") as refused:
        bench_model(tmp_path)
    assert "genai_config.json" in str(refused.value.hint)


def test_a_model_is_rendered_with_and_without_values() -> None:
    measured = {
        "device": TargetInfo("local", processor="P").to_json(),
        "model": {"path": "m"},
        "runtime": {"provider": "cpu", "threads": 2},
        "measurements": [
            {
                "metric": "a",
                "value": 1.5,
                "unit": "ms",
                "low": 1.0,
                "high": 2.0,
                "n": 9,
                "reason": None,
                "details": {},
            },
            {
                "metric": "b",
                "value": None,
                "unit": "ms",
                "low": None,
                "high": None,
                "n": 0,
                "reason": "too few",
                "details": {},
            },
            {
                "metric": "c",
                "value": 3.0,
                "unit": "x",
                "low": 2.0,
                "high": 4.0,
                "n": 2,
                "reason": None,
                "details": {"processes": [{}, {}]},
            },
        ],
        "noise_floor": None,
        "roofline": None,
        "no_roofline": "run `paretune bench` first",
        "problems": [{"what": "it is loud", "why": "it disturbs", "mend": "Be quiet."}],
    }
    text = render_model(measured)
    assert "1.5 ms  [1, 2], n=9" in text
    assert "no value  (too few)" in text
    assert "[2, 4], 2 processes" in text
    assert "no share of the roofline: run `paretune bench` first" in text
    assert "warning: it is loud: it disturbs. Be quiet." in text
    assert "noise floor" not in text
