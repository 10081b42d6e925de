"""What the passes on plain networks share: tiny networks, and a build that is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretune.core.fidelity import Verdict
from paretune.core.model import Model
from paretune.data.context import Context
from paretune.models.handle import open_model
from paretune.targets.worker.compared_arrays import compare_arrays
from paretune.targets.worker.compared_cache import ComparedCache
from tests.pass_bench import Bench

OWN = "com.microsoft"
"""Domain of ONNX Runtime's own operators: those that fusions make."""


@dataclass(frozen=True)
class Built:
    """A build, set against its source.

    Attributes:
        folder: Where it lies.
        graph: Its graph.
        verdict: What it is to its source.
    """

    folder: Path
    graph: Any
    verdict: Verdict

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.graph.node}

    @property
    def error(self) -> float:
        assert self.verdict.valid, self.verdict.reason
        assert self.verdict.compared is not None, self.verdict.reason
        return float(self.verdict.compared["output_error"])


@pytest.fixture
def build(bench: Bench) -> Callable[..., Built]:
    """Runs a pass, loads what it built, and compares it."""

    def run(pass_: Any, model: Model, params: Mapping[str, Any], provider: str = "cpu") -> Built:
        name = f"{pass_.name}-{len(bench.contexts)}"
        folder = bench.run(pass_, model, params, name, provider=provider)
        context = Context(out=folder, scratch=folder, data=None)  # type: ignore[arg-type]
        fidelity = pass_.fidelity(pass_.Params(**params))
        cache = ComparedCache(folder)
        found = compare_arrays(fidelity, open_model(folder), model, "its source", context, cache)
        return Built(folder, onnx.load(str(folder / "model.onnx")).graph, found)

    return run


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Model]:
    """Writes a network of given nodes and float weights, x (rows, 64) to y."""

    def write(
        nodes: Sequence[Any],
        weights: Mapping[str, tuple[int, ...]],
        opset: int = 17,
        inputs: Mapping[str, Sequence[Any]] = {"x": ["rows", 64]},
    ) -> Model:
        draw = np.random.default_rng(0)
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            nodes,
            "network",
            [info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [info("y", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name)
                for name, shape in weights.items()
            ],
        )
        folder = tmp_path / f"network-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(OWN, 1)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(made, folder / "model.onnx")
        (folder / "labels.txt").write_text("a\nb\n")
        return open_model(folder)

    return write


@pytest.fixture
def two_products(network: Callable[..., Model]) -> Model:
    """Two products with stored matrices, named first and second."""
    node = helper.make_node
    return network(
        [
            node("MatMul", ["x", "w1"], ["h"], name="first"),
            node("Relu", ["h"], ["r"], name="relu"),
            node("MatMul", ["r", "w2"], ["y"], name="second"),
        ],
        {"w1": (64, 32), "w2": (32, 8)},
    )


@pytest.fixture
def fused(network: Callable[..., Model]) -> Model:
    """A network with an operator of ONNX Runtime's own, whose type ONNX does not infer."""
    node = helper.make_node
    return network(
        [
            node("MatMul", ["x", "w1"], ["h"], name="first"),
            node("BiasGelu", ["h", "b"], ["g"], name="gelu", domain=OWN),
            node("LayerNormalization", ["g", "b", "b"], ["n"], name="norm"),
            node("MatMul", ["n", "w2"], ["p"], name="second"),
            node("Relu", ["p"], ["y"], name="relu"),
        ],
        {"w1": (64, 32), "b": (32,), "w2": (32, 8)},
    )
