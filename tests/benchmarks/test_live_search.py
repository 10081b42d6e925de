"""What the benchmark of a real search runs, in which order, with which configuration and time."""

from __future__ import annotations

import shutil
from pathlib import Path

import live_search
import yaml

from paretune.config import load
from tests.tiny_models import make_tiny_llama

EXAMPLE = Path(__file__).parents[2] / "examples" / "tone.yaml"


def test_an_exhaustive_run_comes_first_and_the_others_take_turns(tmp_path: Path) -> None:
    names = [run.name for run in live_search.order(tmp_path, 2, [1, 2, 3])]
    assert names == ["exhaustive-0", "chains-1", "exhaustive-1", "chains-2", "chains-3"]


def test_a_run_gets_half_of_the_fastest_exhaustive_time_and_no_more_than_is_left() -> None:
    assert live_search.limit_of([600.0, 500.0], 600.0, minutes=60, others=3) == 250.0
    assert live_search.limit_of([600.0], 900.0, minutes=20, others=2) == 150.0
    assert live_search.limit_of([600.0], 9000.0, minutes=20, others=2) > 0


def test_the_copied_configuration_is_the_example_but_for_its_search(tmp_path: Path) -> None:
    # The example's own model may not be there: it is prepared by `make demo`.
    make_tiny_llama(tmp_path / "model")
    shutil.copytree(EXAMPLE.parent, tmp_path / "examples")
    there = tmp_path / "examples" / EXAMPLE.name
    document = yaml.safe_load(there.read_text(encoding="utf-8"))
    there.write_text(yaml.safe_dump({**document, "model": "../model"}), encoding="utf-8")
    for time_s in (None, 300.0):
        file = tmp_path / "config.yaml"
        told = live_search.copied(there, "chains", 7, time_s)
        file.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
        mine, example = load(file), load(there)
        assert mine.model == example.model.resolve()
        assert list(mine.space) == list(example.space)
        assert (mine.objectives, mine.constraints) == (example.objectives, example.constraints)
        assert (mine.search.strategy, mine.search.seed) == ("chains", 7)
        assert mine.search.time_s == time_s
