"""The error of outputs: by its definition, and where it cannot be told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from paretune.runtimes.output_differences import NothingComparedError, output_error

X = [{"x": np.zeros((2, 3))}, {"x": np.zeros((2, 3))}]


def outputs(*values: Any, name: str = "y") -> list[dict[str, Any]]:
    return [{name: np.asarray(value)} for value in values]


def error(source: list[dict[str, Any]], build: list[dict[str, Any]]) -> float:
    return output_error(source, build, X[: len(source)]).value


def test_it_is_the_difference_over_the_spread_of_the_source() -> None:
    draw = np.random.default_rng(0)
    before, after = draw.normal(5, 2, (2, 4, 8)), draw.normal(5, 2, (2, 4, 8))
    wanted = np.sqrt(((before - after) ** 2).mean()) / before.std()
    assert error(outputs(*before), outputs(*after)) == pytest.approx(wanted)
    assert error(outputs(*before), outputs(*before)) == 0.0
    mean = np.full_like(before, before.mean())
    assert error(outputs(*before), outputs(*mean)) == pytest.approx(1.0)


def test_an_output_that_hardly_varies_is_measured_by_its_size() -> None:
    assert error(outputs([1.0, 1.0]), outputs([1.0, 1.0 + 1e-6])) < 1e-3
    assert error(outputs([1.0, 1.0]), outputs([1.2, 1.2])) > 1
    assert error(outputs([0.0]), outputs([0.0])) == 0.0
    assert error(outputs([0.0]), outputs([0.1])) == math.inf


def test_labels_are_compared_by_the_share_that_differs() -> None:
    assert error(outputs([1, 2, 3, 4]), outputs([1, 2, 3, 5])) == 0.25
    assert error(outputs([True, False]), outputs([True, False])) == 0.0
    words = outputs(np.array(["a", "b"], dtype=object))
    assert error(words, outputs(np.array(["a", "c"], dtype=object))) == 0.5


def test_a_build_that_gives_nan_where_its_source_does_not_is_infinitely_far() -> None:
    assert error(outputs([1.0, 2.0]), outputs([1.0, np.nan])) == math.inf
    assert error(outputs([1.0, 2.0]), outputs([1.0, np.inf])) == math.inf


def test_values_that_are_not_finite_in_the_source_are_named_and_left_out() -> None:
    found = output_error(
        outputs([1.0, 2.0], [1.0, -np.inf]), outputs([1.0, 2.0], [1.0, -65504.0]), X
    )
    assert found.value == 0.0
    assert found.left_out == (
        "the source's own output 'y' is not finite in 1 of 4 values, in 1 of 2 runs",
    )
    with pytest.raises(NothingComparedError, match="not finite in 2 of 2 values"):
        output_error(outputs([np.nan, np.nan]), outputs([0.0, 0.0]), X[:1])


def test_a_missing_output_and_another_shape_are_infinitely_far() -> None:
    assert error(outputs([1.0, 2.0]), outputs([1.0, 2.0], name="z")) == math.inf
    found = output_error(outputs([1.0, 2.0]), outputs([[1.0, 2.0]]), X[:1])
    assert found.value == math.inf
    assert "'y' has the shape (1, 2), and (2,) before" in found.left_out[0]


def test_a_shape_that_depends_on_values_is_named_not_judged() -> None:
    source = [{"y": np.ones(2), "s": np.ones(3)}, {"y": np.zeros(2), "s": np.ones(5)}]
    build = [{"y": np.ones(2), "s": np.ones(3)}, {"y": np.zeros(2), "s": np.ones(4)}]
    found = output_error(source, build, X)
    assert dict(found.outputs) == {"y": 0.0}
    assert "the shape of the output 's' depends on the values" in found.left_out[0]
