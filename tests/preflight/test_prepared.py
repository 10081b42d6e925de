"""Candidates whose model cannot be measured are skipped, by the dry run and the search alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_study import search, write_fake_study
from paretune_fakes import Noop

from paretune.core.model import ModelKind
from paretune.preflight.dry_run import foresee

NONE_RUNS = "an adapter (kind hf-adapter), which no runtime runs"


def test_a_candidate_that_no_runtime_runs_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noop, "produces", ModelKind.HF_ADAPTER)
    config = write_fake_study(
        tmp_path,
        {},
        passes=[{"any": [{"noop": {"x": [1, 2]}}, "fake_train"]}],
        baseline=["fake_train"],
    )
    monkeypatch.setattr("paretune_fakes.Train.produces", ModelKind.HF)
    found = foresee(config, store=tmp_path / "store")
    assert found["skipped"] == 2
    (reason,) = found["reasons"]
    assert NONE_RUNS in reason
    assert "readback cannot measure it" in reason
    search(config)
    rows = json.loads((tmp_path / "study" / "results.json").read_text())["candidates"]
    told = {row["recipe"][0]["pass"]: (row["outcome"], row["reason"]) for row in rows}
    assert told["noop"] == ("skipped", reason)
    assert told["fake_train"][0] == "ok"
    assert found["trainings"] == 1
