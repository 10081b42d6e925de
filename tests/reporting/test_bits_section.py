"""The bits of each matrix in the report, with the expected and the measured divergence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.core.fidelity import KL
from paretune.core.measurement import Measurement
from paretune.reporting.bits_section import bits_section
from paretune.reporting.page import write_report
from paretune.reporting.step_details import StepDetails, step_details
from paretune.study.results import Results
from tests.reporting.test_page import EVIL, OUTCOMES, document
from tests.reporting.test_step_details import _with

BITS = {"rows": {"attn/o_proj": [4, 8], "mlp/down_proj": [8]}, "others": {"lm_head": 4}}
FOUND = {"summary": "8 bits in 2 of 4 matrices", "expected_kl_per_token": 0.25, "bits": BITS}
RESULTS = Results.from_json(document(list(OUTCOMES)))


def _step(*candidates: int, bits: Any = BITS) -> StepDetails:
    return StepDetails("genai", "", {}, candidates, {}, bits)


def test_each_build_has_a_grid_with_both_divergences() -> None:
    one, two, *others = OUTCOMES
    kl = Measurement(KL, 0.1875, "nats", None, None, 1, "exact")
    measured = replace(two, measurements={**two.measurements, KL: kl})
    results = Results.from_json(document([one, _with(measured, FOUND), *others]))
    found = bits_section(step_details(results), results)
    assert found is not None
    (grid,) = found.grids
    assert grid.rows == (("attn/o_proj", (4, 8)), ("mlp/down_proj", (8, None)))
    assert grid.others == (("lm_head", 4),)
    assert (grid.layers, grid.summary) == (2, "8 bits in 2 of 4 matrices")
    assert grid.divergence.endswith("expected 0.25, measured 0.1875.")
    assert grid.title.startswith("Candidate 2")
    assert "bits" not in step_details(results)[0].figures


def test_a_build_whose_divergence_was_not_measured_says_so() -> None:
    results = Results.from_json(document([_with(OUTCOMES[0], FOUND), *OUTCOMES[1:]]))
    found = bits_section(step_details(results), results)
    assert found is not None
    assert found.grids[0].divergence.endswith("expected 0.25, not measured.")


def test_many_are_not_all_drawn_and_the_picks_is() -> None:
    best = RESULTS.best
    assert best is not None
    steps = [_step(number) for number in range(10, 20)]
    found = bits_section([*steps, _step(best)], RESULTS)
    assert found is not None
    assert len(found.grids) == 8
    assert found.missing == 3
    assert found.grids[0].title == f"Candidate {best} (the pick)"


@pytest.mark.parametrize(
    "bits", [{}, {"rows": None}, {"rows": {"a": 1}}, {"rows": {"a": []}}, {"others": {"b": 8}}]
)
def test_what_is_no_grid_is_not_drawn(bits: Any) -> None:
    assert bits_section([_step(1, bits=bits)], RESULTS) is None


def test_values_that_are_no_bits_are_left_blank() -> None:
    found = bits_section([_step(1, bits={"rows": {"a": ["8", 8.5, True, 8]}})], RESULTS)
    assert found is not None
    assert found.grids[0].rows == (("a", (None, None, None, 8)),)


def test_the_report_draws_it_and_trusts_no_text(tmp_path: Path) -> None:
    evil = {**FOUND, "bits": {"rows": {EVIL: [8, None]}, "others": {EVIL: 4}}}
    results = Results.from_json(document([_with(OUTCOMES[0], evil), *OUTCOMES[1:]]))
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Bits of each matrix" in page
    assert 'class="cell wide"' in page
    assert EVIL not in page
    write_report(RESULTS, tmp_path / "none.html")
    assert "Bits of each matrix" not in (tmp_path / "none.html").read_text()
