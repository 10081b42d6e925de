"""What the report shows of a device's roof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from paretune.reporting.page import write_report
from paretune.study.results import Results

ROW: dict[str, Any] = {
    "recipe": [{"pass": "genai", "params": {"precision": "int4"}}],
    "runtime": {"provider": "cpu", "threads": 2},
    "outcome": "ok",
    "rung": "full",
    "reason": None,
    "duplicate_of": None,
    "feasible": True,
    "pareto": True,
    "metrics": {
        "decode_ms_p50": {
            "value": 9.0,
            "low": 8.9,
            "high": 9.1,
            "n": 96,
            "unit": "ms",
            "reason": None,
        },
    },
    "artifact": "sha256:1",
    "seconds": [],
}


def results(*roofs: Any) -> Results:
    rows = [
        {"id": id, **ROW, **({} if roof == "absent" else {"roofline": roof})}
        for id, roof in enumerate(roofs, start=1)
    ]
    whole = {
        "schema": 1,
        "study": "s",
        "status": "finished",
        "config": "sha256:c",
        "versions": {},
        "device": {},
        "objectives": [{"metric": "decode_ms_p50", "direction": "minimize"}],
        "constraints": [],
        "baseline": None,
        "candidates": rows,
        "pareto": [1],
        "best": 1,
        "nearest_miss": None,
        "no_difference": [],
    }
    return Results.from_json(whole)


def test_bytes_and_share_are_shown(tmp_path: Path) -> None:
    whole = {
        "bytes_per_token": 84_000_000,
        "operations_per_prompt_token": 212_400_000,
        "decode_share": 0.4567,
        "ttft_share": 0.31,
    }
    unmeasured = {**whole, "decode_share": None, "ttft_share": None}
    write_report(results(whole, unmeasured, None, "absent"), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "MB per token" in page
    cells = re.findall(r'<td class="n" data-v="84000000"[^>]*>(.*?)</td>\s*(<td.*?</td>)', page)
    assert cells[0] == ("84", '<td class="n" data-v="0.4567">46<small>prompt 31</small></td>')
    assert cells[1] == ("84", '<td class="n" data-v=""></td>')
    assert len(cells) == 2
    rows = re.findall(r"<tr data-outcome.*?</tr>", page, re.DOTALL)
    assert {row.count("<td") for row in rows} == {page.count('<th class="sort') + 1}


def test_an_older_study_has_no_such_columns(tmp_path: Path) -> None:
    write_report(results("absent", None), tmp_path / "r.html")
    assert "MB per token" not in (tmp_path / "r.html").read_text()


def test_a_device_that_was_not_measured_has_no_share_and_it_is_said(tmp_path: Path) -> None:
    unmeasured = {
        "bytes_per_token": 84_000_000,
        "operations_per_prompt_token": 212_400_000,
        "decode_share": None,
        "ttft_share": None,
    }
    write_report(results(unmeasured), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "MB per token" in page
    assert "roofline, %" not in page
    assert "Run <code>paretune bench</code> to measure this" in page
