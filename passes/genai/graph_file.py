"""The file of a build's graph, and the one beside it that holds its weights; for workers only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GRAPH, WEIGHTS = "model.onnx", "model.onnx.data"


def rewrite(network: Any, folder: Path, size_threshold: int = 0) -> None:
    """Write a changed graph over the one that it was loaded from.

    Args:
        network: The graph, with all its weights.
        folder: The build.
        size_threshold: Weights of fewer bytes stay in the graph's file.
    """
    import onnx

    for name in (GRAPH, WEIGHTS):
        (folder / name).unlink(missing_ok=True)
    onnx.save(
        network,
        folder / GRAPH,
        save_as_external_data=True,
        location=WEIGHTS,
        size_threshold=size_threshold,
    )
