"""Arrays that are made up for a comparison: valid, varied, of several sizes, the same each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import InvalidArtifactError
from paretune.runtimes.drawn_arrays import runs_of


class Session:
    """Runs a function; takes what it does not refuse."""

    def __init__(self, inputs: Mapping[str, Any], takes: Callable[..., bool] = lambda **_: True):
        self.inputs, self._takes = inputs, takes

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._takes(**inputs):
            raise InvalidArtifactError("loads, but does not run")
        return {"y": sum(np.asarray(a, float).sum() for a in inputs.values())}


def test_values_fit_their_inputs_and_are_drawn_the_same_each_time() -> None:
    inputs = {
        "ids": ("int64", (None, None)),
        "attention_mask": ("int64", (None, None)),
        "pixels": ("uint8", (1, 50)),
        "x": ("float32", (3, 7)),
        "flag": ("bool", (1,)),
    }
    first = runs_of(Session(inputs), {"ids": 3})
    again = runs_of(Session(inputs), {"ids": 3})
    assert [out for _, out in first] == [out for _, out in again]
    given = [arrays for arrays, _ in first]
    assert {a["ids"].shape for a in given} == {(4, 8), (4, 33)}
    assert set(np.unique(np.concatenate([a["ids"].ravel() for a in given]))) == {0, 1, 2}
    masks = [a["attention_mask"] for a in given]
    assert set(np.unique(np.concatenate([mask.ravel() for mask in masks]))) == {0, 1}
    assert all((np.diff(mask, axis=1) <= 0).all() and mask[:, 0].all() for mask in masks)
    assert given[0]["pixels"].max() > 100
    assert given[0]["x"].dtype == np.float32
    assert given[0]["x"].std() > 0.5
    assert not np.array_equal(given[0]["x"], given[1]["x"])


def test_the_sizes_that_a_network_takes_are_found() -> None:
    images = Session({"x": ("float32", (None, 3, None, None))}, lambda x: x.shape[2] >= 64)
    assert {given["x"].shape for given, _ in runs_of(images, {})} == {(4, 3, 224, 224)}
    single = Session({"x": ("float32", (None, 3, None))}, lambda x: x.shape[0] == 1)
    assert {given["x"].shape for given, _ in runs_of(single, {})} == {(1, 3, 8), (1, 3, 33)}
    length = Session({"n": ("int64", (1,))}, lambda n: bool((n == 1).all()))
    assert len(runs_of(length, {})) == 2
    assert runs_of(Session({"x": ("float32", (1, None))}, lambda x: False), {}) == []


def test_a_network_of_fixed_sizes_that_does_not_run_and_inputs_that_are_no_numbers() -> None:
    with pytest.raises(InvalidArtifactError, match="does not run"):
        runs_of(Session({"x": ("float32", (None, 4))}, lambda x: False), {})
    with pytest.raises(InvalidArtifactError, match=r"words \(tensor\(string\)\)"):
        runs_of(Session({"words": ("tensor(string)", (1,))}), {})
