"""A whole search whose objective and limit are the energy per token, on a made-up counter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import paretune
from paretune.search.run import SearchRun
from tests.preflight.test_energy_counters import write_config
from tests.targets.worker.test_energy import moving
from tests.tiny_models import make_tiny_llama


def test_energy_is_an_objective_and_a_limit_like_any_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretune.models.handle import open_model

    root = tmp_path / "sys"
    monkeypatch.setenv("PARETUNE_SYSFS", str(root))
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.1)
    monkeypatch.setattr(SearchRun, "pause", lambda self, seconds: None)
    model = open_model(make_tiny_llama(tmp_path / "model"))
    config = write_config(
        tmp_path,
        model,
        constraints=["energy_per_token_j <= 1000"],
        search={"time": "20m", "finals": 0, "strategy": "exhaustive"},
    )
    with moving(root):
        found = paretune.optimize(config, study=tmp_path / "study", store=tmp_path / "store")
    rows = found.results["candidates"]
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}
    first = rows[0]
    assert first["outcome"] == "ok"
    assert first["feasible"]
    told = first["metrics"]["energy_per_token_j"]
    assert told["unit"] == "J"
    assert 0 < told["low"] <= told["value"] <= told["high"]
    assert any("3 processes" in remark for remark in told["remarks"])
    assert any(
        remark.startswith("energy of RAPL (package-0, package-1, dram, dram)")
        and "when nothing runs" in remark
        for remark in told["remarks"]
    )
    file = tmp_path / "study" / "candidates" / "0001" / "measurements.json"
    details = json.loads(file.read_text())["energy_per_token_j"]["details"]
    assert details["joules"] > 0
    assert details["idle_w"] > 0
    assert details["tokens"] % 4 == 0
    assert found.best is not None
