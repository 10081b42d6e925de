"""Which variants `benchmarks/model_front.py` takes, which rows it keeps, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import model_front
import pytest
from fronting.making import Variant

LISTED = [
    Variant("Olive", "int4", []),
    Variant("Olive", "int4, block 64", []),
    Variant("GenAI builder", "int4", {}, outside="a reason"),
]


def test_a_whole_name_takes_one_variant_and_a_part_all_that_hold_it() -> None:
    def names(*texts: str) -> list[str]:
        return [each.title for each in model_front.chosen(LISTED, list(texts))]

    assert names("Olive: int4") == ["Olive: int4"]
    assert names("block", "GenAI") == ["Olive: int4, block 64", "GenAI builder: int4"]
    assert len(names("")) == 3
    with pytest.raises(SystemExit, match="int5"):
        names("int5")


def test_rows_of_variants_that_are_gone_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_front, "OUT", tmp_path)
    rows = {"GenAI builder: int4": {"kl_per_token": 1.0}, "gone": {"kl_per_token": 2.0}}
    kept = {"text": "a text", "fp32_perplexity": 9.0, "rows": rows, "compared": {}}
    (tmp_path / "model_front.json").write_text(json.dumps(kept), encoding="utf-8")
    found = model_front._kept(LISTED)
    assert found["rows"] == {"GenAI builder: int4": {"kl_per_token": 1.0, "outside": "a reason"}}


def test_a_row_with_other_words_is_not_timed() -> None:
    variant = Variant("paretune", "a", [{"genai": {"precision": "int8"}}])
    row = {"kl_per_token": 1.0, "made_with": {**variant.identity(), "model": "sha256:0"}}
    assert model_front._is_of(row, variant)
    other = Variant("paretune", "a", [{"genai": {"precision": "int4"}}])
    assert not model_front._is_of(row, other)
    assert not model_front._is_of({**row, "kl_per_token": None, "made_with": {}}, variant)


def test_failures_and_figures_are_shown() -> None:
    good = {"maker": "Olive", "name": "a", "mb": 9.0, "kl_per_token": 0.2, "kl_low": 0.1}
    good |= {"kl_high": 0.3, "top1_agreement": 0.9, "perplexity": 11.0}
    bad = {"maker": "OpenVINO", "name": "b", "failed": "not made: too small"}
    whole = {"rows": {"a": good, "b": bad}, "compared": {}, "fp32_perplexity": 10.0, "text": "t"}
    text = model_front.shown(whole)
    assert "| Olive | a | 9 |  | 0.2000 (0.1000 to 0.3000) | 0.9 | 11 |" in text
    assert "| OpenVINO | b | not made: too small |" in text


def test_a_build_that_computes_another_model_has_no_figures() -> None:
    figures = {"kl_low": 1.0, "kl_high": 1.0, "top1_agreement": 0.0, "perplexity": 1e9}
    row = {"kl_per_token": 55.9, **figures}
    model_front.refuse_another_model(row)
    assert row == {"failed": "made, computes another model: KL 55.9 nats per token"}
    row = {"kl_per_token": 0.6, **figures}
    model_front.refuse_another_model(row)
    assert row == {"kl_per_token": 0.6, **figures}
