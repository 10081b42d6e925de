"""The F1 of tokens is scikit-learn's, without what is outside or ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretune.core.errors import DataError
from paretune.core.measurement import Rung
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import write_identity

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
LABELS = ["O", "B", "I"]


def test_it_is_that_of_the_library(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", rank=3)
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(30, 7, 3)).astype(np.float32)
    right = draw.integers(0, 3, (30, 7))
    hit = draw.random((30, 7)) < 0.5
    right[hit] = scores.argmax(2)[hit]
    right[:, -1] = -100
    arrays = {"x": scores, "y": right}
    flat, found = right[:, :-1].ravel(), scores.argmax(2)[:, :-1].ravel()
    for outside, inside in (("O", [1, 2]), (None, [0, 1, 2])):
        seen = on_rows("token_classification", network, arrays, labels=LABELS, outside=outside)
        expected = sklearn.f1_score(flat, found, labels=inside, average="micro")
        assert seen["token_f1"].value == pytest.approx(expected)
    low, high = seen["token_f1"].low, seen["token_f1"].high
    assert low is not None
    assert low < expected < (high or 0)
    rough = on_rows(
        "token_classification", network, arrays, labels=LABELS, rung=Rung.ROUGH, rough_examples=9
    )
    again = on_rows("token_classification", network, arrays, labels=LABELS, previous=rough)
    whole = on_rows("token_classification", network, arrays, labels=LABELS)
    assert rough["token_f1"].n == 9
    assert again["token_f1"] == whole["token_f1"]


def test_answers_of_another_form_are_refused(on_rows: OnRows, tmp_path: Path) -> None:
    network = write_identity(tmp_path / "n", rank=3)
    x = np.zeros((4, 5, 3), np.float32)
    for y, why in (
        (np.ones(4, int), "expects a list with the class of each token"),
        (np.full((4, 5), 7), "expects classes from 0 to 2"),
        (np.ones((4, 6), int), "expects a class of each of the 5 positions"),
        (np.zeros((4, 5), int), "expects a token that is not outside"),
        (np.full((4, 5), "X"), "found 'X'"),
    ):
        with pytest.raises(DataError, match=why):
            on_rows("token_classification", network, {"x": x, "y": y}, labels=LABELS)
