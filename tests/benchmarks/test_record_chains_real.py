"""The recorded table `own` with real trainings, builds and timings, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from common import ROOT
from record_chains import write_table
from recording import plan
from recording.timings import Timings
from recording.work import Place, build_all, train
from simulator.recorded import read_table

from paretune.data.catalog import DataCatalog, DataSpec
from paretune.models.handle import open_model
from paretune.targets.launchers.local import LocalTarget
from tests.tiny_models import make_tiny_llama

FOREVER = float("inf")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where the work is recorded, with a tiny model and a little data."""
    model = make_tiny_llama(tmp_path / "model", hidden_size=256, heads=4, kv_heads=4, head_dim=64)
    tones = (("joy", "sun"), ("fear", "dark"))
    rows = [{"phrase": f"{w} {n} and the road", "tone": t} for n in range(40) for t, w in tones]
    file = tmp_path / "tone.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = DataSpec.model_validate({"file": str(file), **plan.DATA})
    folder = tmp_path / "work"
    return Place(folder, open_model(model), DataCatalog({"tone": spec}, tmp_path))


@pytest.mark.slow
@pytest.mark.long
def test_all_parts_end_with_a_table_that_is_not_provisional(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "benchmarks"))
    # The tiny model's tokenizer needs more tokens a phrase than the shortest limit allows.
    one = [training for training in plan.trainings() if training["max_length"] == 64][:1]
    monkeypatch.setattr(plan, "trainings", lambda: one)
    monkeypatch.setattr("record_chains.PAIRS", place.folder / "none.json")
    path = place.folder / "table.jsonl.gz"
    with LocalTarget(place.store.root) as target:
        train(place, target, FOREVER)
        build_all(place, target, FOREVER)
        write_table(place, path)
        assert "provisional: builds, judge, trainings" in capsys.readouterr().out
        Timings(place, target, FOREVER, quiet=True, rounds=2).run()
        recorded = place.log.entries()
        Timings(place, target, FOREVER, quiet=True, rounds=2).run()
        assert place.log.entries() == recorded  # nothing was left to do
    write_table(place, path)
    assert "provisional: nothing" in capsys.readouterr().out
    table = read_table(path)
    assert len(list(table.distinct())) == 2 * 3 * 12
    assert not list(place.folder.glob("builds*")) + list(place.folder.glob("timed*"))
    for one in table.distinct():
        truth = table.truth(one)
        assert 0 <= truth["accuracy"] <= 1
        assert truth["decode_ms_p50"] > 0
        recipe = one.recipe
        assert all(table.seconds(recipe[: i + 1]) > 0 for i in range(len(recipe)))
        assert all(table.estimate(recipe[: i + 1]) for i in range(len(recipe)))
