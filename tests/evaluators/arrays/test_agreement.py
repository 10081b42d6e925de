"""A network is compared with the baseline on rows that need no answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paretune.core.errors import InvalidArtifactError
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import network_weights, write_network


def test_differences_are_those_of_the_outputs(on_rows: OnRows, tmp_path: Path) -> None:
    one, two = (write_network(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    x = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32)
    spec = {"target": None}
    seen = on_rows("agreement", one, {"x": x}, reference=one, spec=spec)
    assert seen["max_abs_difference"].value == 0
    assert seen["top1_agreement"].value == 1
    seen = on_rows("agreement", two, {"x": x}, reference=one, spec=spec)
    outputs = []
    for seed in (0, 1):
        first, second = network_weights(seed=seed).values()
        outputs.append(np.maximum(x @ first, 0) @ second)
    each = np.abs(outputs[0] - outputs[1]).max(axis=1)
    assert seen["max_abs_difference"].value == pytest.approx(each.max(), rel=1e-5)
    assert seen["max_abs_difference"].samples == pytest.approx(each, rel=1e-4)
    same = outputs[0].argmax(1) == outputs[1].argmax(1)
    assert seen["top1_agreement"].value == pytest.approx(same.mean())
    assert 0 < same.mean() < 1


def test_another_shape_is_invalid_and_without_a_baseline_there_is_no_value(
    on_rows: OnRows, tmp_path: Path
) -> None:
    one, two = (write_network(tmp_path / str(n), classes=n) for n in (3, 4))
    x = np.ones((3, 8), np.float32)
    with pytest.raises(InvalidArtifactError, match=r"the shape \[4\] for row 1 of d"):
        on_rows("agreement", two, {"x": x}, reference=one, spec={"target": None})
    seen = on_rows("agreement", two, {"x": x}, spec={"target": None})
    assert {m.value for m in seen.values()} == {None}
    assert "no baseline" in str(seen["top1_agreement"].reason)


def test_one_number_has_no_largest_one(on_rows: OnRows, tmp_path: Path) -> None:
    one, two = (write_network(tmp_path / str(seed), classes=1, seed=seed) for seed in (0, 1))
    x = np.ones((3, 8), np.float32)
    seen = on_rows("agreement", two, {"x": x}, reference=one, spec={"target": None})
    assert (seen["max_abs_difference"].value or 0) > 0
    assert seen["top1_agreement"].value is None
    assert "one number at each position" in str(seen["top1_agreement"].reason)
