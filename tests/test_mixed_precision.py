"""A budget of 8 bits is searched: one sensitivity run, several builds, the report; all real."""

from __future__ import annotations

from pathlib import Path

from paretune import optimize
from paretune.core.kernel_times import kernel_times_file, read_kernel_times
from paretune.preflight.dry_run import foresee
from tests.test_end_to_end import write_config
from tests.tiny_models import make_tiny_llama

BUDGETS = [0, 0.4, 1]


def test_a_search_over_budgets_measures_the_sensitivity_once(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        make_tiny_llama(tmp_path / "model"),
        passes=[
            {"sensitivity": {"rounded_to": "next", "data": "tone.train"}},
            {"genai": {"precision": "int4", "budget": BUDGETS}},
        ],
        evaluate=[{"footprint": {"loads": 1}}],
        objectives=[{"minimize": "kl_per_token"}, {"minimize": "size_mb"}],
        search={"strategy": "exhaustive", "finals": 0},
    )
    told = foresee(config, store=tmp_path / "store")
    assert (told["candidates"], told["skipped"], told["builds"]) == (3, 0, 5)

    result = optimize(config, study=tmp_path / "study", store=tmp_path / "store")
    rows = {
        step["params"]["budget"]: row
        for row in result.results["candidates"]
        for step in row["recipe"]
        if "budget" in step["params"]
    }
    assert {budget: row["outcome"] for budget, row in rows.items()} == dict.fromkeys(BUDGETS, "ok")
    ran = [s for row in rows.values() for s in row["seconds"] if s["step"] == "sensitivity"]
    assert sorted(step["cached"] for step in ran) == [False, True, True]
    sizes = [rows[budget]["metrics"]["size_mb"]["value"] for budget in BUDGETS]
    assert sizes == sorted(sizes)
    divergences = [rows[budget]["metrics"]["kl_per_token"]["value"] for budget in BUDGETS]
    assert divergences[2] < divergences[0]
    page = (result.study / "report.html").read_text()
    assert page.count('aria-label="Bits by matrix and layer"') == 3
    assert "nats per token: expected" in page


def test_a_budget_without_a_sensitivity_is_told_before_anything_runs(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        make_tiny_llama(tmp_path / "model"),
        passes=[{"genai": {"precision": "int4", "budget": 0.5}}],
        search={"strategy": "exhaustive"},
    )
    told = foresee(config, store=tmp_path / "store")
    assert told["skipped"] == 1
    assert "put `sensitivity` before it" in str(told["reasons"])


def test_times_are_measured_once_and_kept_with_the_device(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        make_tiny_llama(tmp_path / "model"),
        passes=[
            {"sensitivity": {"data": "tone.train"}},
            {"genai": {"precision": "int4", "budget": [0.3, 0.6], "cost": "time"}},
        ],
        evaluate=[{"footprint": {"loads": 1}}],
        objectives=[{"minimize": "kl_per_token"}, {"minimize": "size_mb"}],
        search={"strategy": "exhaustive", "finals": 0},
    )
    store = tmp_path / "store"
    result = optimize(config, study=tmp_path / "study", store=store)
    timed = [row for row in result.results["candidates"] if len(row["recipe"]) == 2]
    assert [row["artifact"] is not None for row in timed] == [True, True]
    told = [row["seconds"][1]["details"]["summary"] for row in timed]
    assert all("of their extra time" in summary for summary in told)
    file = kernel_times_file(store, result.results["device"]["fingerprint"])
    # 64 to 128, 64 to 64, 128 to 64 and the head, at 4 and at 8 bits.
    assert len(read_kernel_times(file)) == 8
