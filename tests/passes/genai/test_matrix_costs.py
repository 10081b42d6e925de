"""What a matrix costs: its bytes as the file has them, or the times that are kept of the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from paretune.core.kernel_times import write_kernel_times
from paretune.core.model import Model
from paretune.core.resources import physical_cores
from paretune.models.handle import open_model
from paretune.passes.genai.genai import Genai
from paretune.passes.genai.matrix_costs import Bytes, Times, costs_of
from paretune.passes.genai.mixed_bits import mix
from paretune.passes.genai.options import GenaiParams
from paretune.passes.genai.quantized_nodes import open_build
from paretune.passes.hugging_face import load_fp32
from paretune.passes.quantization.sensitivity import SensitivityPass
from paretune.passes.quantization.sensitivity_file import Sensitivity
from tests.pass_bench import Bench

INT4 = {"precision": "int4"}


@pytest.mark.parametrize("symmetric", [True, False])
def test_bytes_are_those_of_the_file(bench: Bench, tiny: Model, symmetric: bool) -> None:
    import onnx

    out = bench.run(Genai(), tiny, {**INT4, "is_symmetric": symmetric}, "four")
    graph = onnx.load(out / "model.onnx").graph
    held = {tensor.name: len(tensor.raw_data) for tensor in graph.initializer}
    with open_build(out) as build:
        nodes = list(build.nodes.values())
    for node, cost in zip(nodes, Bytes().of(nodes), strict=True):
        assert cost[4] == sum(held[name] for name in node.tensors)
        assert cost[8] > 1.5 * cost[4]


def test_times_are_taken_where_they_decide() -> None:
    def costs(**params: object) -> object:
        return costs_of(GenaiParams(**INT4, **params), None)

    assert costs(budget=0.5) == costs(budget=0.5, cost="bytes") == costs(budget=1, cost="time")
    assert costs(budget=0.5, cost="time") == Times(4, physical_cores(), None)
    assert costs(budget=0.5, cost="time", accuracy_level=1) == Times(1, physical_cores(), None)


def test_the_times_of_the_device_decide(bench: Bench, tiny: Model, tmp_path: Path) -> None:
    """With times at which 8 bits cost nothing for one shape, all matrices of it get them."""
    texts = {"data": "tone.train", "examples": 4}
    measured = open_model(bench.run(SensitivityPass(), tiny, texts, "measured"))
    out = bench.run(Genai(), tiny, INT4, "four")
    costs = Times(4, 1, tmp_path / "times.json")
    with open_build(out) as build:
        nodes = list(build.nodes.values())
    free = next(node for node in nodes if node.name.endswith("down_proj/MatMul"))
    seconds = {
        costs._product(node, bits).key: 1e-5 if node.width == free.width else bits * 1e-3
        for node in nodes
        for bits in (4, 8)
    }
    write_kernel_times(tmp_path / "times.json", seconds)
    network = load_fp32(measured.path, bench.contexts["measured"])
    found = mix(out, network, Sensitivity.read(measured.path), 1e-3, costs)
    with open_build(out) as build:
        eight = {name for name, node in build.nodes.items() if node.grid.bits == 8}
    assert eight == {node.name for node in nodes if node.width == free.width}
    assert "of their extra time" in found["summary"]
    assert found["budget_spent"] == 0
    assert "ms per token" in found["summary"]


def test_a_build_keeps_the_times_that_it_measured(bench: Bench, tiny: Model) -> None:
    texts = {"data": "tone.train", "examples": 4}
    measured = open_model(bench.run(SensitivityPass(), tiny, texts, "measured"))
    out = bench.run(Genai(), measured, {**INT4, "budget": 0.5, "cost": "time"}, "timed")
    assert "of their extra time" in bench.contexts["timed"].details["summary"]
    with open_build(out) as build:
        assert {node.grid.bits for node in build.nodes.values()} <= {4, 8}
