"""A search that is killed at any moment, run again, loses at most the candidate in flight."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fake_study import write_fake_study
from harness import AT_EACH, Chaos

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

METRICS = ("accuracy", "decode_ms_p50")


def write_study(folder: Path, **search: Any) -> Path:
    """Write a study whose candidates share prefixes, are stopped early, fail and are duplicates."""
    return write_fake_study(
        folder,
        {},
        passes=[
            {"fake_train": {"x": [1, 2]}},
            {"noop": {"quality": [0.6, 0.95], "ignored": [0, 1], "misbehave": ["", "raise"]}},
        ],
        constraints=["accuracy >= 0.9"],
        search={"strategy": "exhaustive", "seed": 3, "trials": 12, **search},
    )


@pytest.mark.parametrize(
    ("strategy", "places"), [("exhaustive", AT_EACH[::2]), ("nsga2", AT_EACH[1::2])]
)
def test_killed_at_each_durable_step(
    tmp_path: Path, strategy: str, places: tuple[str, ...]
) -> None:
    chaos = Chaos("fakes", lambda folder: write_study(folder, strategy=strategy), tmp_path, METRICS)
    missed = [place for place in places if not chaos.kill_at(place)]
    chaos.finish()
    assert not missed, f"never reached: {missed}"
    assert chaos.tally.kills.total() == len(places)


def test_killed_at_moments_nobody_chose(tmp_path: Path) -> None:
    chaos = Chaos("fakes", lambda folder: write_study(folder), tmp_path, METRICS)
    for seconds in (0.9, 1.7, 2.6):
        chaos.kill_after(seconds)
    chaos.finish()
