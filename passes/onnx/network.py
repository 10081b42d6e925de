"""What passes on plain ONNX networks share: reading, writing, the library's errors and advice."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from paretune.core.errors import PassError, nearest
from paretune.core.model import Model, ModelInfo
from paretune.models.onnx_files import external_files, network_file
from paretune.models.onnx_weights import load_network, tensors_of
from paretune.passes.copied import copy_files

FILE = "model.onnx"
"""Name of every network that a pass writes."""
_MOST_INSIDE = 1 << 30
"""Bytes of a network above which weights lie beside it: a message holds less than 2 GB."""
_FREE_WEIGHTS = 4
"""IR version from which on stored weights need not be inputs, too."""
STANDARD = ("", "ai.onnx")
"""Names of the domain of standard operators."""


def read(model: Model) -> Any:
    """Return the network of a model with its weights; every node has a name.

    A node without one is called by its operator and its place, such as ``MatMul_12``.
    """
    network = load_network(network_file(model.path))
    _free_weights(network)
    name_nodes(network.graph)
    _store_constants(network.graph)
    return network


def _free_weights(network: Any) -> None:
    """Take the stored weights out of the inputs, where older files list them.

    Libraries take what is an input for something else in each run: a converter left such weights in
    fp32, and a product by them was not measured.
    """
    stored = {tensor.name for tensor in network.graph.initializer}
    given = [each for each in network.graph.input if each.name not in stored]
    if len(given) < len(network.graph.input):
        del network.graph.input[:]
        network.graph.input.extend(given)
    network.ir_version = max(network.ir_version, _FREE_WEIGHTS)


def name_nodes(graph: Any) -> None:
    """Give each node without a name that of its operator and place."""
    taken = {node.name for node in graph.node}
    for place, node in enumerate(graph.node):
        if not node.name:
            name = f"{node.op_type}_{place}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def _store_constants(graph: Any) -> None:
    """Make stored weights of the constants that nodes give: libraries look for weights there."""
    outputs = {each.name for each in graph.output}
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        value = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if value and node.domain in STANDARD and node.output[0] not in outputs:
            graph.initializer.add().CopyFrom(value[0])
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)


def write(network: Any, file: Path) -> None:
    """Write a network; the weights of a large one lie beside it."""
    import onnx

    if is_large(network):
        onnx.save_model(
            network, str(file), save_as_external_data=True, location=f"{file.name}.data"
        )
    else:
        onnx.save_model(network, str(file))


def is_large(network: Any) -> bool:
    """Return whether the weights of a network must lie beside its file.

    By their shapes: a message of more than 2 GB cannot be asked for its own size.
    """
    from onnx import helper

    sizes = (
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in tensors_of(network)
    )
    return bool(sum(sizes) > _MOST_INSIDE)


def copy_beside(model: Model, out: Path) -> None:
    """Copy what belongs to a model beside its network and the network's weights."""
    file = network_file(model.path)
    copy_files(model, out, {file.name, *external_files(file)})


@contextmanager
def library(name: str, what: str, hint: str | None = None) -> Iterator[None]:
    """Run a library: it gives no advice meanwhile, and its errors are the pass's.

    Args:
        name: The pass.
        what: The library, for messages.
        hint: What to do if it fails.

    Raises:
        PassError: The library raises whatever its many parts do.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except MemoryError:
        raise
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        raise PassError(f"{name}: {what} fails: {said[:500]}", hint=hint) from error
    finally:
        logging.disable(before)


def check_nodes(name: str, key: str, wanted: Iterable[str], network: Any) -> None:
    """Refuse names that no node of a network has.

    Raises:
        PassError: There is no such node; says the nearest.
    """
    names = [node.name for node in network.graph.node]
    for each in wanted:
        if each not in names:
            raise PassError(
                f"{name}: {key}: the network has no node named {each!r}",
                hint=nearest(each, names)
                or f"It has {len(names)} nodes, such as {', '.join(sorted(names)[:5])}.",
            )


def check_operators(name: str, key: str, wanted: Iterable[str], network: Any) -> None:
    """Refuse operators that a network does not have.

    Raises:
        PassError: There is no such operator in it; says which there are.
    """
    there = sorted({node.op_type for node in network.graph.node})
    for each in wanted:
        if each not in there:
            raise PassError(
                f"{name}: {key}: the network has no operator {each!r}",
                hint=f"It has {', '.join(there)}.",
            )


def opset_of(network: Any) -> int:
    """Return the version of the standard operators that a network uses; 0: it uses none."""
    return max(
        (each.version for each in network.opset_import if each.domain in STANDARD), default=0
    )


def operators(network: Any) -> dict[str, int]:
    """Return how often each operator occurs in a network, subgraphs included."""
    found: dict[str, int] = {}
    graphs = [network.graph]
    while graphs:
        for node in graphs.pop().node:
            found[node.op_type] = found.get(node.op_type, 0) + 1
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs
    return found


def new_operators(built: Any, source: Any) -> set[str]:
    """Return the operators of a network that its source lacks, but for those that Gemm becomes."""
    return {*operators(built)} - {*operators(source)} - {"MatMul", "Add"}


def as_products(names: Iterable[str]) -> list[str]:
    """Return names of nodes, and what they are called once a library makes MatMul of Gemm."""
    return [each for name in names for each in (name, f"{name}_MatMul")]


def needs_fp32(model: ModelInfo) -> str | None:
    """Return why a network is not converted again: an earlier pass did it."""
    if model.precision != "fp32":
        return f"takes a network in fp32; this one is {model.precision}"
    return None
