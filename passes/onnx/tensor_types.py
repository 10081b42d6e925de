"""Types of a network's inner tensors, as ONNX Runtime infers them: of its own operators, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.core.errors import InvalidArtifactError
from paretune.passes.onnx.network import write


def declare_types(network: Any, folder: Path) -> None:
    """Declare the element type of each output of a node in the main graph that has none.

    Libraries look types up in ``value_info``. ONNX's own inference stops at operators of other
    domains; a session knows the types of all.

    Args:
        network: What is changed.
        folder: An empty folder; a copy of the network is written there.

    Raises:
        InvalidArtifactError: The network does not load.
    """
    import onnx
    import onnxruntime

    graph = network.graph
    known = {
        info.name
        for info in (*graph.output, *graph.input, *graph.value_info)
        if info.type.tensor_type.elem_type
    }
    inner = [name for node in graph.node for name in node.output if name]
    inner = [name for name in dict.fromkeys(inner) if name not in known]
    if not inner:
        return
    probe = onnx.ModelProto()
    probe.CopyFrom(network)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    write(probe, folder / "types.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "types.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own classes derive from Exception alone
        raise InvalidArtifactError(f"the network does not load: {error}") from error
    wanted = set(inner)
    for each in session.get_outputs():
        kind = _KINDS.get(each.type)
        if each.name in wanted and kind is not None:
            graph.value_info.append(
                onnx.helper.make_tensor_value_info(each.name, getattr(onnx.TensorProto, kind), None)
            )


_KINDS = {
    "tensor(float)": "FLOAT",
    "tensor(float16)": "FLOAT16",
    "tensor(bfloat16)": "BFLOAT16",
    "tensor(double)": "DOUBLE",
    "tensor(bool)": "BOOL",
    "tensor(string)": "STRING",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}".upper()
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
