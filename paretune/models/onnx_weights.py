"""Loads an ONNX network with its weights, wherever they lie in its folder; for workers only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paretune.core.errors import InvalidArtifactError, UsageError
from paretune.models.containment import named_by_onnx


def load_network(file: Path) -> Any:
    """Return a network with its weights.

    The loader of ``onnx`` refuses external data with several hard links, as large files have that
    the store shares with a user's folder and with packages. What it is to prevent is checked here
    for every file: that a network reads anything outside of its folder.

    Args:
        file: An ONNX file.

    Raises:
        InvalidArtifactError: Its weights lie elsewhere, or are not all there.
    """
    import onnx

    network = onnx.load(str(file), load_external_data=False)
    try:
        named_by_onnx(file)
    except UsageError as error:
        raise InvalidArtifactError(error.message, hint=error.hint) from error
    for tensor in tensors_of(network):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            said = {entry.key: entry.value for entry in tensor.external_data}
            with open(file.parent / said["location"], "rb") as data:
                data.seek(int(said.get("offset", 0)))
                tensor.raw_data = data.read(int(said["length"]) if "length" in said else -1)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return network


def tensors_of(network: Any) -> Iterator[Any]:
    """Yield the tensors of a network, those in nodes, subgraphs and functions included."""
    left = [network.graph, *network.functions]
    while left:
        graph = left.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for each in node.attribute:
                yield from ([each.t] if each.HasField("t") else [])
                yield from each.tensors
                left += [each.g] if each.HasField("g") else []
                left += each.graphs
