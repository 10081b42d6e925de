"""Retrieval by vectors: known answers, and the same as by scikit-learn and numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretune.core.errors import DataError, InvalidArtifactError
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import write_identity

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def test_pairs_that_are_near_are_found(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", rank=2)
    draw = np.random.default_rng(0)
    x = np.repeat(draw.normal(size=(6, 16)), 2, axis=0).astype(np.float32)
    x += 0.01 * draw.normal(size=x.shape).astype(np.float32)
    arrays = {"x": x, "y": np.repeat(np.arange(6), 2)}
    seen = on_rows("embedding", network, arrays, reference=network)
    assert seen["recall_at_1"].value == 1
    assert seen["ndcg_at_10"].value == pytest.approx(1)
    assert seen["cosine_to_baseline"].value == pytest.approx(1)
    # Two rows take each other's answers: each of the four is first found by the wrong one.
    swapped = {**arrays, "y": np.array([0, 1, 0, 1, *arrays["y"][4:]])}
    seen = on_rows("embedding", network, swapped)
    assert seen["recall_at_1"].value == pytest.approx(8 / 12)
    near = x @ x.T / np.outer(*(np.linalg.norm(x, axis=1),) * 2)
    gains = []
    for n in range(12):
        others = [m for m in range(12) if m != n]
        right = swapped["y"][others] == swapped["y"][n]
        gains.append(sklearn.ndcg_score([right], [near[n][others]], k=10))
    assert seen["ndcg_at_10"].value == pytest.approx(np.mean(gains))
    assert seen["cosine_to_baseline"].value is None


def test_vectors_of_tokens_become_one(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", rank=3)
    x = np.zeros((4, 3, 2), np.float32)
    x[:, 0] = [[1, 0], [0, 1], [1, 0], [0, 1]]  # by the first token rows 0 and 2 are the same
    x[:, 1] = [[0, 9], [0, 9], [9, 0], [9, 0]]  # by the mean rows 0 and 1 are near
    arrays = {"x": x, "y": np.array([0, 1, 0, 1])}
    assert on_rows("embedding", network, arrays, pooling="cls")["recall_at_1"].value == 1
    assert on_rows("embedding", network, arrays)["recall_at_1"].value == 0


def test_data_without_pairs_and_vectors_of_nothing(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", rank=2)
    x = np.eye(4, dtype=np.float32)
    with pytest.raises(DataError, match="two with the same answer"):
        on_rows("embedding", network, {"x": x, "y": np.arange(4)})
    with pytest.raises(InvalidArtifactError, match="row 1 of d has the length 0"):
        on_rows("embedding", network, {"x": 0 * x, "y": np.zeros(4, int)})
