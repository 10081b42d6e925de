"""The class with the highest score is compared with the right one, whatever form both have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import DataError, InvalidArtifactError, UsageError
from paretune.core.measurement import Rung
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import network_weights, write_network

N = 60


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("classes"))


def rows(wrong: int = 9) -> dict[str, Any]:
    """Rows whose answers are the network's own, but for some."""
    x = np.random.default_rng(1).normal(size=(N, 8)).astype(np.float32)
    one, two = network_weights().values()
    y = (np.maximum(x @ one, 0) @ two).argmax(1)
    y[:wrong] = (y[:wrong] + 1) % 3
    return {"x": x, "y": y}


def test_accuracy_and_macro_f1_are_those_of_scikit_learn(on_rows: OnRows, network: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    arrays = rows()
    right = rows(wrong=0)["y"]  # what the network predicts
    seen = on_rows("classification", network, arrays)
    accuracy, f1 = seen["accuracy"], seen["macro_f1"]
    assert accuracy.value == pytest.approx(1 - 9 / N)
    assert f1.value == pytest.approx(sklearn.f1_score(arrays["y"], right, average="macro"))
    assert accuracy.low is not None
    assert accuracy.low < accuracy.value < (accuracy.high or 0)
    assert list(accuracy.samples) == [0.0] * 9 + [1.0] * (N - 9)
    assert accuracy.details.rows == tuple(range(N))


def test_the_full_rung_goes_on_where_the_rough_one_stopped(
    on_rows: OnRows, network: Path, tmp_path: Path
) -> None:
    whole = on_rows("classification", network, rows())
    rough = on_rows("classification", network, rows(), rung=Rung.ROUGH, rough_examples=20)
    assert rough["accuracy"].n == 20
    other = write_network(tmp_path / "other", seed=5)  # judges the rest only
    again = on_rows("classification", other, rows(), previous=rough)
    kept = [again["accuracy"].samples[row] for row in rough["accuracy"].details.rows or ()]
    assert kept == list(rough["accuracy"].samples)
    assert again["accuracy"].value != whole["accuracy"].value


@pytest.mark.parametrize("type", [np.float64, np.float16])
def test_floats_of_another_width_are_converted(on_rows: OnRows, network: Path, type: Any) -> None:
    arrays = rows()
    seen = on_rows("classification", network, {**arrays, "x": arrays["x"].astype(type)})
    assert seen["accuracy"].value == pytest.approx(1 - 9 / N, abs=0.05)


def test_answers_are_numbers_or_names(on_rows: OnRows, network: Path) -> None:
    arrays, labels = rows(), ["cat", "dog", "eel"]
    names = np.array(labels)[arrays["y"]]
    named = on_rows("classification", network, {**arrays, "y": names}, labels=labels)
    assert named["accuracy"].value == pytest.approx(1 - 9 / N)
    numbered = on_rows("classification", network, arrays, labels=labels)
    assert numbered["accuracy"].value == named["accuracy"].value
    for y, why in (
        (
            names,
            r"row \d+ has the answer '.*'; classification expects the number of a class, 0 to 2",
        ),
        (arrays["y"] + 2, "expects the number of a class, 0 to 2"),
        (arrays["y"] + 0.5, "expects the number or the name of a class"),
    ):
        with pytest.raises(DataError, match=why):
            on_rows("classification", network, {**arrays, "y": y})
    with pytest.raises(DataError, match="row 1 has the answer 'fox', which is not in `labels:`"):
        on_rows("classification", network, {**arrays, "y": np.array(["fox"] * N)}, labels=labels)
    with pytest.raises(UsageError, match="3 classes, and `labels` names 4"):
        on_rows("classification", network, arrays, labels=[*labels, "fox"])


@pytest.mark.parametrize(
    ("x", "spec", "why"),
    [
        (np.zeros((4, 8), np.int64), {"inputs": {"z": "x"}}, "an input 'x', and the data set does"),
        (np.zeros((4, 1, 1, 8), np.float32), {}, r"the shape \[1, 1, 8\]; the network takes"),
    ],
)
def test_rows_that_do_not_fit_the_network_are_errors_of_the_data(
    on_rows: OnRows, network: Path, x: Any, spec: dict[str, Any], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        on_rows("classification", network, {"x": x, "y": np.zeros(4, int)}, spec=spec)


def test_a_network_that_answers_nan_is_invalid(on_rows: OnRows, network: Path) -> None:
    arrays = {"x": np.full((4, 8), np.nan, np.float32), "y": np.zeros(4, int)}
    with pytest.raises(InvalidArtifactError, match="output 'y' is NaN for row"):
        on_rows("classification", network, arrays)
