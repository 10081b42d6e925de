"""Errors of numbers are those of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretune.core.errors import DataError
from paretune.core.measurement import Rung
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import network_weights, write_network

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


@pytest.mark.parametrize("width", [1, 3])
def test_they_are_those_of_the_library(on_rows: OnRows, tmp_path: Path, width: int) -> None:
    network = write_network(tmp_path / "n", classes=width)
    x = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    one, two = network_weights(classes=width).values()
    found = np.maximum(x @ one, 0) @ two
    y = found + np.random.default_rng(2).normal(size=found.shape)
    arrays = {"x": x, "y": y[:, 0] if width == 1 else y}
    seen = on_rows("regression", network, arrays)
    assert seen["mae"].value == pytest.approx(sklearn.mean_absolute_error(y, found), rel=1e-4)
    assert seen["rmse"].value == pytest.approx(sklearn.root_mean_squared_error(y, found), rel=1e-4)
    assert seen["r2"].value == pytest.approx(sklearn.r2_score(y, found), rel=1e-4)
    assert np.mean(seen["mae"].samples) == pytest.approx(seen["mae"].value)
    for m in seen.values():
        assert m.low is not None
        assert m.low < (m.value or 0) < (m.high or 0)
    rough = on_rows("regression", network, arrays, rung=Rung.ROUGH, rough_examples=8)
    assert rough["mae"].n == 8
    again = on_rows("regression", network, arrays, previous=rough)
    assert again["mae"].value == pytest.approx(seen["mae"].value)


def test_equal_answers_have_no_r2_and_names_are_refused(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_network(tmp_path / "n", classes=1)
    x = np.ones((8, 8), np.float32)
    seen = on_rows("regression", network, {"x": x, "y": np.ones(8)})
    assert seen["r2"].value is None
    assert "all the same" in str(seen["r2"].reason)
    for y, why in (
        (np.array(["a"] * 8), "row 1 has the answer 'a'; regression expects numbers"),
        (np.ones((8, 2)), "as many numbers as the network gives: 1"),
    ):
        with pytest.raises(DataError, match=why):
            on_rows("regression", network, {"x": x, "y": y})
