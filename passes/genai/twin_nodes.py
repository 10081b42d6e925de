"""Names of the matrices that a build would have: of a twin with every layer, and small sizes.

What the model builder calls a node depends on the architecture and on what is fused, not on sizes.
For workers only.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.jsontools import Json, read_model_json, write_json
from paretune.passes.genai.options import GenaiParams, options_for
from paretune.passes.genai.twin import quietly, shrunk, tokenizer
from paretune.passes.quantization.node_bits import product_of

_NOT_IN_NAMES: Mapping[str, None] = dict.fromkeys(
    ("block_size", "is_symmetric", "algorithm", "accuracy_level", "matmul_mixed_precision")
)


def relevant(params: GenaiParams) -> dict[str, Json]:
    """Return the parameters that a node's name, or whether it is in fp32, can depend on."""
    return params.model_copy(update=dict(_NOT_IN_NAMES)).model_dump(mode="json", exclude_none=True)


def look(folder: str, builds: Sequence[Mapping[str, Json]], tied: bool) -> list[Json]:
    """Build a model's twin in several ways.

    Args:
        folder: The model's.
        builds: Each ``{"params", "provider"}``.
        tied: Whether the model's embedding and head share their weights.

    Returns:
        Of each what `names_of` says; null where no twin could be made or built.
    """
    logging.getLogger("onnxruntime.quantization").setLevel(logging.WARNING)
    source = Path(folder)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        try:
            _write(read_model_json(source / "config.json"), source, place / "model")
        except Exception:  # whatever a stranger's configuration makes a library raise
            return [None for _ in builds]
        return [
            _names(place / "model", place / str(i), build, tied) for i, build in enumerate(builds)
        ]


def _write(config: dict[str, Json], source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True)
    small = shrunk(config, source, whole=True)
    write_json(folder / "config.json", small, durable=False)
    read = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    network = AutoModelForCausalLM.from_config(read, trust_remote_code=False)
    network.to(torch.float32).save_pretrained(folder)
    write_json(folder / "config.json", small, durable=False)  # as the model's own has it
    tokenizer().save_pretrained(folder)


def _names(source: Path, out: Path, build: Mapping[str, Any], tied: bool) -> Json:
    import onnx
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    params = GenaiParams(**build["params"])
    options = [*params.builder_options(), *options_for(source), "hf_token=false"]
    if params.shared_embeddings is None and not tied:
        options.append("shared_embeddings=false")
    cache = str(out / "cache")
    where = (None, str(source), str(out), params.precision, build["provider"], cache)
    try:
        with quietly():
            create_model(*where, **parse_extra_options(*where, options))
        graph = onnx.load(out / "model.onnx", load_external_data=False).graph
    except Exception:  # the builder's own failures have no class
        return None
    return names_of(graph)


def names_of(graph: Any) -> dict[str, list[str]]:
    """Return the names of a graph's products of matrices.

    Returns:
        ``plain``: those that are not rounded; ``constant``: those of them with a matrix that is in
        the file as it is (not, say, the embedding's, turned); ``quantized``: the rounded ones.
    """
    constant = {tensor.name for tensor in graph.initializer}
    plain = [node for node in graph.node if node.op_type == "MatMul"]
    return {
        "plain": [node.name for node in plain],
        "constant": [node.name for node in plain if node.input[1] in constant],
        "quantized": [product_of(n.name) for n in graph.node if n.op_type == "MatMulNBits"],
    }
