"""How much each product or convolution of a network is off once it alone is quantized."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.passes.onnx.calibration import Inputs
from paretune.passes.onnx.network import library, write

OPERATORS = frozenset({"MatMul", "Gemm", "Conv"})
"""Operators with stored weights whose nodes are measured."""

Quantize = Callable[[Any, Sequence[Inputs], Path, Path], None]
"""Quantizes a network, given arrays of each run, a file for a copy and the file of the result."""


@dataclass(frozen=True)
class _Node:
    """A node, with the names of what flows in and out."""

    node: Any
    given: tuple[str, ...]
    made: str


def node_errors(
    name: str,
    network: Any,
    inputs: Sequence[Inputs],
    left_out: Sequence[str],
    quantize: Quantize,
    folder: Path,
) -> dict[str, float]:
    """Return the error of each node at its own output, by name.

    Each is quantized as a network of its own, and run on what flows into it in the whole network:
    the error is the root mean square of the difference over that of the output itself. Errors of
    the nodes before it do not count, and neither does what the network makes of its output.

    Args:
        name: The pass.
        network: Every node has a name.
        inputs: Of each run.
        left_out: Nodes that are not measured.
        quantize: How it is quantized.
        folder: An empty folder for copies.

    Raises:
        PassError: A node cannot be quantized alone, or does not run then.
    """
    from onnx import TensorProto

    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    nodes = [
        _Node(node, tuple(n for n in node.input if n and n not in weights), node.output[0])
        for node in network.graph.node
        if node.op_type in OPERATORS
        and node.name not in left_out
        and node.input[1] in weights
        and weights[node.input[1]].data_type == TensorProto.FLOAT
        and node.input[0] not in weights
    ]
    with library(name, "ONNX Runtime on the network whose values are read"):
        flows = _flows(network, nodes, inputs, folder)
    opsets = list(network.opset_import)
    found = {}
    for number, each in enumerate(nodes):
        place = folder / f"node{number}"
        place.mkdir()
        alone = _alone(each, weights, opsets, network.ir_version, flows)
        flowing = zip(*(flows[given] for given in each.given), strict=True)
        runs = [dict(zip(each.given, values, strict=True)) for values in flowing]
        quantize(alone, runs, place / "copy.onnx", place / "quantized.onnx")
        with library(name, f"ONNX Runtime on the node {each.node.name!r}, quantized alone,"):
            found[each.node.name] = _error(place / "quantized.onnx", runs, flows[each.made])
    return found


def _flows(
    network: Any, nodes: Sequence[_Node], inputs: Sequence[Inputs], folder: Path
) -> dict[str, list[Any]]:
    """Return the values of tensors around the nodes, of each run."""
    import onnx

    wanted = list(dict.fromkeys(name for each in nodes for name in (*each.given, each.made)))
    given = {each.name for each in network.graph.input}
    probe = onnx.ModelProto()
    probe.CopyFrom(network)
    probe.graph.ClearField("output")
    inner = [name for name in wanted if name not in given]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    write(probe, folder / "flows.onnx")
    session = _session(folder / "flows.onnx")
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    for run in inputs:
        values = dict(zip(inner, session.run(inner, dict(run)), strict=True)) if inner else {}
        for name in wanted:
            found[name].append(run[name] if name in given else values[name])
    return found


def _alone(
    each: _Node,
    weights: Mapping[str, Any],
    opsets: Sequence[Any],
    ir_version: int,
    flows: Mapping[str, Sequence[Any]],
) -> Any:
    """Return a network of one node, with its weights."""
    from onnx import TensorProto, helper

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * flows[name][0].ndim)

    graph = helper.make_graph(
        [each.node],
        "node",
        [info(name) for name in each.given],
        [info(each.made)],
        [weights[name] for name in dict.fromkeys(each.node.input) if name in weights],
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def _error(file: Path, runs: Sequence[Inputs], before: Sequence[Any]) -> float:
    """Return the relative error of a quantized node; infinite where it is not finite."""
    import numpy as np

    session = _session(file)
    apart = size = 0.0
    for run, source in zip(runs, before, strict=True):
        (after,) = session.run(None, dict(run))
        apart += float(np.square(np.float64(after) - source).sum())
        size += float(np.square(np.float64(source)).sum())
    if not math.isfinite(apart):
        return math.inf
    return math.sqrt(apart / size) if size else math.inf if apart else 0.0


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
