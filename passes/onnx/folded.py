"""Constants of a network, folded by ONNX Runtime: its basic level of graph optimization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.models.onnx_weights import load_network
from paretune.passes.onnx.network import is_large, write


def constants_folded(network: Any, folder: Path) -> Any:
    """Return a network whose constants are folded and whose needless nodes are gone.

    Args:
        network: What is optimized; it stays as it is.
        folder: An empty folder for copies.
    """
    import onnxruntime

    source, target = folder / "whole.onnx", folder / "folded.onnx"
    write(network, source)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    if is_large(network):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{target.name}.data"
        )
    # Shared constants would hide the patterns that fusions look for.
    onnxruntime.InferenceSession(
        str(source),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["ConstantSharing"],
    )
    return load_network(target)
