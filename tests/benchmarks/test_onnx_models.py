"""What the networks are given, what is told of a search, and what is read of Olive's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import rapidocr_text
from networks.docstrings import described
from networks.magika import features
from networks.silero import _steps
from onnx_models import summary
from onnxing import olive
from onnxing.again import settings_of
from onnxing.searching import shown


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
    found = {"seconds": 5.0, "candidates": rows}
    text = shown("m", {**found, "pick": rows[1], "best_plain": rows[0]}, "accuracy")
    assert "4.00 times as fast" in text
    assert "**pick** front" in text
    assert "times as fast" not in shown(
        "m", {**found, "pick": None, "best_plain": rows[0]}, "accuracy"
    )


def test_a_text_is_read_without_repetitions_and_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "characters.json").write_text('["", "a", "b"]', encoding="utf-8")
    monkeypatch.setattr(rapidocr_text, "__file__", str(tmp_path / "rapidocr_text.py"))
    rapidocr_text._characters.cache_clear()
    best = [0, 1, 1, 0, 1, 2, 2, 0]
    assert rapidocr_text.text({"y": np.eye(3, dtype=np.float32)[best]}) == "aab"
    rapidocr_text._characters.cache_clear()


def test_each_step_of_a_sound_begins_with_the_end_of_the_one_before() -> None:
    sound = np.arange(40 * 512, dtype=np.float32)
    steps = _steps(sound)
    assert steps.shape == (40, 576)
    assert not steps[0, :64].any()
    np.testing.assert_array_equal(steps[1, :64], steps[0, -64:])
    np.testing.assert_array_equal(steps[:, 64:].ravel(), sound)


def test_docstrings_are_pairs_that_differ() -> None:
    pairs = described()
    assert len(pairs) > 300
    assert len({summary for summary, _ in pairs}) == len(pairs)


def test_the_settings_of_an_olive_session() -> None:
    session = {
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 2,
        "execution_mode": None,
        "graph_optimization_level": 2,
        "extra_session_config": {"session.intra_op.allow_spinning": "0"},
    }
    assert settings_of({"session_options": session}) == {
        "provider": "cpu",
        "threads": 1,
        "spinning": False,
        "graph_optimization": "extended",
    }


def test_what_olive_found_is_read_of_its_footprint(tmp_path: Path) -> None:
    build = {"from_pass": "onnxdynamicquantization", "pass_run_config": {}, "metrics": None}
    settings = {"session_options": {"intra_op_num_threads": 2}}
    tuned = {
        "parent_model_id": "b",
        "from_pass": "ortsessionparamstuning",
        "model_config_data": {"config": {"inference_settings": settings}},
        "metrics": {"value": {"latency-p50": {"value": 3.0}}, "if_goals_met": True},
        "is_pareto_frontier": True,
    }
    out = tmp_path / "out"
    out.mkdir()
    (out / "footprint.json").write_text(json.dumps({"b": build, "t": tuned}), encoding="utf-8")
    model = {"config": {"model_path": "model.onnx", "inference_settings": settings}}
    (out / "model_config.json").write_text(json.dumps(model), encoding="utf-8")
    found = olive._found(tmp_path)
    assert found["candidates"] == 1
    assert found["trials"][0]["metrics"] == {"latency-p50": 3.0}
    assert found["pick"]["pass"] == "onnxdynamicquantization"


def test_the_summary_has_the_gain_over_the_best_session_as_it_is() -> None:
    row = {"id": 1, "recipe": [], "runtime": {"provider": "cpu", "threads": 1}, "outcome": "ok"}
    entrants = [{"metrics": {"latency_ms_p50": {"value": value}}} for value in (2.0, 8.0)]
    told = {
        "quality": {"ours": 0.9, "as it is": 0.91},
        "names": ["ours", "as it is"],
        "speed": {"entrants": entrants},
    }
    plain = {**row, "id": 2}
    ours = {"pick": row, "best_plain": plain, "seconds": 7.0, "candidates": [row]}
    text = summary(
        [{"model": "m", "metric": "accuracy", "ours": ours, "olive": None, "again": told}]
    )
    assert "| m | ours |" in text
    assert "| accuracy 0.9 | 2 | 4 | 7 | 1 |" in text
    assert "| m | olive | no pick |" in text
