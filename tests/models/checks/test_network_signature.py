from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from paretune.models.checks.network_signature import unusable
from paretune.models.kinds.base import kind_named
from paretune.models.onnx_signature import Signature, Value
from tests.onnx_networks import write_network

ARRAY = Value(TensorProto.FLOAT, ("n", 2))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Value(TensorProto.STRING, ("n",)), "input 'x' is text"),
        (Value(TensorProto.BFLOAT16, (1,)), "input 'x' is bfloat16"),
        (Value(TensorProto.FLOAT8E4M3FN, (1,)), "input 'x' is of the type 17"),
        (Value(0, None), "input 'x' is a sequence, a map or an optional value"),
        (Value(TensorProto.FLOAT, None), "how many axes its input 'x' has"),
    ],
)
def test_inputs_that_are_no_arrays_are_named(value: Value, told: str) -> None:
    (found,) = unusable(Signature({"a": ARRAY, "x": value}, {"y": ARRAY}))
    assert told in found.message
    assert found.fatal


def test_one_output_that_is_an_array_is_enough() -> None:
    sequence = Value(0, None)
    assert not list(unusable(Signature({"x": ARRAY}, {"s": sequence, "y": ARRAY})))
    (found,) = unusable(Signature({"x": ARRAY}, {"s": sequence}))
    assert "'s' (a sequence" in found.message


def test_the_kind_reports_them(tmp_path: Path) -> None:
    assert not list(kind_named("onnx").problems(write_network(tmp_path / "n"), None))
