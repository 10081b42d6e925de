"""Texts and boxes that a function of the user's makes of outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import DataError, EvaluatorError, UsageError
from paretune.core.measurement import Measurement, Rung
from paretune.evaluators.arrays.detection import mean_average_precision
from tests.evaluators.arrays.conftest import OnRows
from tests.onnx_networks import write_identity

STEPS = """
def text(outputs):
    return "".join(chr(int(code)) for code in outputs["y"] if code)

def boxes(outputs):
    return [
        {"box": each[:4], "label": int(each[4]), "score": each[5]}
        for each in outputs["y"] if each[5]
    ]

def number(outputs):
    return 7

def fails(outputs):
    return outputs["z"]
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    (tmp_path / "steps.py").write_text(STEPS)
    return write_identity(tmp_path / "n", rank=2)


def codes(*texts: str) -> Any:
    width = max(map(len, texts))
    return np.array([[*map(ord, t.ljust(width, "\0"))] for t in texts], np.float32)


def test_texts_are_compared_by_character(on_rows: OnRows, network: Path) -> None:
    pytest.importorskip("rapidfuzz", reason="rapidfuzz is not installed")
    right = ["abc", "hello", "x", "world"] * 3
    read = ["abc", "hallo", "xy", "word"] * 3

    def measured(rung: Rung, previous: Any = None) -> dict[str, Measurement]:
        arrays = {"x": codes(*read), "y": np.array(right)}
        return on_rows(
            "recognition",
            network,
            arrays,
            postprocess="steps.py:text",
            rung=rung,
            rough_examples=8,
            previous=previous,
        )

    seen = measured(Rung.FULL)
    assert seen["exact_match"].value == pytest.approx(1 / 4)
    assert seen["cer"].value == pytest.approx(3 / 14)
    assert seen["cer"].samples == (0, 1, 1, 1) * 3
    rough = measured(Rung.ROUGH)
    assert rough["cer"].n == 8
    assert measured(Rung.FULL, rough) == seen


def test_what_is_no_answer_is_told(on_rows: OnRows, network: Path) -> None:
    pytest.importorskip("rapidfuzz", reason="rapidfuzz is not installed")
    arrays = {"x": codes("ab", "cd", "ef"), "y": np.array(["ab", "cd", "ef"])}
    kinds: list[tuple[str, type[Exception], str]] = [
        ("number", EvaluatorError, "postprocess returned 7 for row . of d, expected text"),
        ("fails", EvaluatorError, "postprocess failed on row . of d: KeyError: 'z'"),
        ("none", UsageError, "steps.py has no function 'none'"),
    ]
    for name, kind, why in kinds:
        with pytest.raises(kind, match=why):
            on_rows("recognition", network, arrays, postprocess=f"steps.py:{name}")
    with pytest.raises(DataError, match="row 1 has the answer 1; recognition expects text"):
        on_rows(
            "recognition", network, {**arrays, "y": np.ones(3, int)}, postprocess="steps.py:text"
        )


def test_boxes_are_those_of_coco(on_rows: OnRows, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    (tmp_path / "steps.py").write_text(STEPS)
    network = write_identity(tmp_path / "n", rank=3)
    box = [10.0, 20.0, 30.0, 40.0]
    shifted = [10.0, 20.0, 30.0, 30.0]  # overlap 0.75: right at 0.5, 0.55, ..., 0.75
    found = np.array([[[*box, 1, 0.9]], [[*shifted, 1, 0.8]]], np.float32)
    rows = [{"x": each.tolist(), "y": [{"box": box, "label": 1}]} for each in found]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = on_rows("detection", network, {}, spec={"file": "d.jsonl"}, postprocess="steps.py:boxes")
    m = seen["map_50_95"]
    # Six of ten thresholds take both (precision 1); four the first alone (recall 0.5: 51 of 101).
    assert m.value == pytest.approx(0.6 + 0.4 * 51 / 101, abs=1e-3)
    assert m.low is not None
    assert m.low < m.value < (m.high or 0)


def test_precision_of_all_and_of_none() -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    box = [1.0, 1.0, 5.0, 5.0]
    right = [[(box, "a", 1.0)], [(box, "b", 1.0)], []]
    of_drawn = mean_average_precision(right, right)
    assert of_drawn is not None
    assert of_drawn([0, 1, 2]) == pytest.approx(1)
    assert of_drawn([0, 0, 1]) == pytest.approx(1)
    of_drawn = mean_average_precision(right, [[], [], []])
    assert of_drawn is not None
    assert of_drawn([0, 1, 2]) == 0
    only = [[(box, "a", 0.5)], []]
    assert mean_average_precision([[], []], only) is None
    of_drawn = mean_average_precision(right, [*only, []])
    assert of_drawn is not None
    assert of_drawn([0, 1, 2]) == pytest.approx(0.5)  # one class of two
    assert of_drawn([0, 0]) == pytest.approx(1)
    assert of_drawn([1, 1]) == 0


@pytest.mark.parametrize("target", [[{"box": [1, 2, 3]}], "a box", [{"box": [1, 2, -3, 4]}], 3])
def test_answers_that_are_no_boxes_are_refused(
    on_rows: OnRows, network: Path, tmp_path: Path, target: Any
) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    (tmp_path / "d.jsonl").write_text(json.dumps({"x": [1, 2], "y": target}) + "\n")
    with pytest.raises(DataError, match=r"row 1 has the answer .*; detection expects a list"):
        on_rows("detection", network, {}, spec={"file": "d.jsonl"}, postprocess="steps.py:boxes")
