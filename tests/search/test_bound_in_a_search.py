"""The device's profile in a search: what is hopeless is not built, the rest says its share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import paretune
from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile
from paretune.targets.launchers.local import LocalTarget
from tests.tiny_models import make_tiny_llama

CONFIG: dict[str, Any] = {
    "model": "model",
    "passes": [{"genai": {"precision": ["fp32", "int4"]}}],
    "evaluate": [{"generation": {"prompt_tokens": 16, "new_tokens": 4}}],
    "target": {"providers": ["cpu"], "threads": [1]},
    "objectives": {"minimize": "decode_ms_p50"},
    "constraints": ["decode_ms_p50 <= 10000"],
}


def profile(rate: float, store: Path) -> DeviceProfile:
    with LocalTarget(store) as target:
        fingerprint = target.info().fingerprint
    return DeviceProfile(
        fingerprint,
        "2026-01-02T03:04:05+00:00",
        0.05,
        (Bandwidth(1, 1 << 20, rate),),
        (Arithmetic("fp32", 1, 1024, 1e12),),
        1e-8,
        0.1,
        {},
    )


@pytest.mark.slow
def test_a_profile_rules_out_and_shows_shares(tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "model")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    store = tmp_path / "store"
    store.mkdir()

    def search() -> dict[int, Any]:
        result = paretune.optimize(tmp_path / "c.yaml", study=tmp_path / "study", store=store)
        return {row["id"]: row for row in result.results["candidates"]}

    # Ten bytes a second: a token of the int4 build takes an hour, and the baseline's four.
    profile(10.0, store).save(store)
    rows = search()
    assert [rows[id]["outcome"] for id in (1, 2)] == ["ok", "skipped"]
    assert "the limit is decode_ms_p50 <= 10000" in rows[2]["reason"]
    assert rows[2]["roofline"]["decode_share"] is None
    # A device that is measured anew, and found to be quick: what was ruled out is tried again.
    profile(1e9, store).save(store)
    rows = search()
    assert {row["outcome"] for row in rows.values()} <= {"ok", "pruned"}
    for row in rows.values():
        assert row["roofline"]["bytes_per_token"] > 0
        assert row["roofline"]["decode_share"] > 0
        assert row["roofline"]["ttft_share"] > 0
