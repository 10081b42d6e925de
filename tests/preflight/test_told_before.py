"""What comes first, as the dry run says; and notes on threads, by dry run and search alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_study import search, write_fake_study

from paretune.config import load
from paretune.core.candidate import describe
from paretune.core.resources import logical_cores
from paretune.preflight.dry_run import foresee, render
from paretune.preflight.prepared import PreparedSearch
from paretune.store.artifacts import Store


def foreseen(folder: Path, noop: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return foresee(write_fake_study(folder, noop, **changes), store=folder / "store")


def of(x: int, **more: int) -> list[Any]:
    return [{"noop": {"x": x, **more}}]


def test_first_lists_nothing_that_is_ruled_out_and_nothing_twice(tmp_path: Path) -> None:
    found = foreseen(
        tmp_path,
        {"x": [99, 0, 1, 2, 3, 4, 5]},
        baseline=of(0),
        try_first=[of(99), of(0), of(3), of(3), {"recipe": of(3), "threads": 1}],
    )
    assert found["first"] == [f"noop(x={x}) @ cpu x1" for x in (0, 3, 1, 2, 4)]
    assert (found["looked_at"], found["skipped"]) == (7, 1)
    assert "99" not in render(found).split("first: ")[1]


def test_first_is_what_the_search_begins_with(tmp_path: Path) -> None:
    """What shares its beginning with the first candidates comes before the space's own order."""
    config = write_fake_study(
        tmp_path,
        {},
        passes=[{"fake_train": {"x": [1, 2, 99, 3]}}, {"noop": {"x": [3, 99]}}],
        baseline=[{"fake_train": {"x": 3}}, {"noop": {"x": 0}}],
    )
    found = foresee(config, store=tmp_path / "store")
    search(config)
    rows = json.loads((tmp_path / "study" / "results.json").read_text())["candidates"]
    ran = [row for row in sorted(rows, key=lambda row: row["id"]) if row["outcome"] != "skipped"]
    prepared = PreparedSearch(load(config), Store(tmp_path / "store"))
    try:
        known = {c.digest: describe(c) for c in (prepared.baseline, *prepared.plan.space)}
    finally:
        prepared.target.close()
    assert len(found["first"]) == len(ran) == 4
    assert set(found["first"]) <= set(known.values())
    shown = [
        " > ".join(f"{s['pass']}(x={s['params']['x']})" for s in row["recipe"]) + " @ cpu x1"
        for row in ran
    ]
    assert found["first"] == shown


def test_of_a_sampler_only_what_is_named_is_first(tmp_path: Path) -> None:
    found = foreseen(
        tmp_path, {"x": list(range(9))}, search={"strategy": "tpe"}, try_first=[of(7), of(7)]
    )
    assert found["first"] == ["noop(x=0) @ cpu x1", "noop(x=7) @ cpu x1"]


@pytest.mark.parametrize(
    "more",
    [{"target": {"threads": [1, 1000]}}, {"try_first": [{"recipe": of(1), "threads": 1000}]}],
)
def test_more_threads_than_cores_are_noted_by_dry_run_and_search(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    config = write_fake_study(tmp_path, {"x": [1]}, **more)
    (note,) = (n for n in foresee(config, store=tmp_path / "store")["notes"] if "threads" in n)
    assert note.startswith("threads: 1000: a process can use ")
    assert str(logical_cores()) in note
    search(config)
    told = json.loads((tmp_path / "study" / "results.json").read_text())["notes"]
    assert told.count(note) == 1


def test_as_many_threads_as_cores_are_no_note(tmp_path: Path) -> None:
    found = foreseen(tmp_path, {"x": [1]}, target={"threads": [1, logical_cores()]})
    assert not any("threads" in note for note in found["notes"])
