"""What Magika is given for a file, and what is told of a search."""

from __future__ import annotations

from typing import Any

from networks.magika import features
from onnx_models import shown


def test_features_are_both_ends_padded() -> None:
    settings = {"beg_size": 4, "end_size": 3, "padding_token": 256}
    assert features(b"  abcdef \n", settings) == [*b"abcd", *b"def"]
    assert features(b" ab ", settings) == [*b"ab ", 256, *b" ab"]
    assert features(b"a", settings) == [97, 256, 256, 256, 256, 256, 97]


def test_the_gain_is_over_the_best_session_of_the_network_as_it_is() -> None:
    def row(id: int, latency: float, recipe: list[Any]) -> dict[str, Any]:
        runtime = {"provider": "cpu", "threads": 1, "name": "onnxruntime"}
        metrics = {"latency_ms_p50": {"value": latency}}
        return {
            "id": id,
            "recipe": recipe,
            "runtime": runtime,
            "outcome": "ok",
            "pareto": True,
            "metrics": metrics,
        }

    rows = [row(1, 8.0, []), row(2, 2.0, [{"pass": "onnx_float16", "params": {}}])]
    found = {"model": "m", "seconds": 5.0, "candidates": rows}
    text = shown({**found, "pick": rows[1], "best_plain": rows[0]})
    assert "4.00 times as fast" in text
    assert "**pick** front" in text
    assert "times as fast" not in shown({**found, "pick": None, "best_plain": rows[0]})
