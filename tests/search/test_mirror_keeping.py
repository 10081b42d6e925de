"""A mirror that cannot be written is noted, and never ends anything."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.mirror import Mirror
from paretune.search.mirror_keeping import Mirrored, MirrorKeeper

OBJECTIVES = (Objective("accuracy", "maximize"),)


def outcome(id: int) -> TrialResult:
    candidate = Candidate((Step("genai", {"x": 1}),), RuntimeSettings("cpu", 1))
    return TrialResult(id, candidate, OutcomeKind.FAILED, reason="why")


def nothing(_: TrialResult) -> Sequence[float]:
    return ()


def trials(file: Path) -> int:
    with closing(sqlite3.connect(file)) as mirror:
        count: int = mirror.execute("select count(*) from trials").fetchone()[0]
    return count


def kept(file: Path, notes: list[str]) -> MirrorKeeper:
    return MirrorKeeper(lambda: Mirror(file, "s", OBJECTIVES), notes.append)


@pytest.mark.parametrize(
    "name",
    [
        "50%20off",
        "why?",
        "#1",
        "a;b",
        "it's",
        'a"b',
        "new\nline",
        "日本 語",
        "-x",
        "~",
        ":memory:",
        "file:x?mode=ro",
        os.fsdecode(b"caf\xe9"),
    ],
)
def test_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "there" / name).mkdir(parents=True)
    notes: list[str] = []
    keeper = kept(tmp_path / "there" / name / "study.db", notes)
    keeper.begin([outcome(1)], nothing)
    keeper.add(outcome(2), ())
    keeper.finish([outcome(1), outcome(2)], nothing)
    assert notes == []
    assert os.listdir(tmp_path / "there" / name) == ["study.db"]
    assert trials(tmp_path / "there" / name / "study.db") == 2
    assert os.listdir(tmp_path / "here") == []
    assert os.listdir(tmp_path / "there") == [name]


def test_locked_by_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.search.mirror._LOCKED_FOR_S", 0.1)
    notes: list[str] = []
    file = tmp_path / "study.db"
    keeper = kept(file, notes)
    keeper.begin([outcome(1)], nothing)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("begin exclusive")
        keeper.add(outcome(2), ())
        keeper.add(outcome(3), ())
    assert len(notes) == 1
    assert "locked" in notes[0]
    keeper.finish([outcome(1), outcome(2), outcome(3)], nothing)
    assert len(notes) == 1
    assert trials(file) == 3


def test_outcomes_in_quick_succession_are_all_there_at_the_end(tmp_path: Path) -> None:
    notes: list[str] = []
    file = tmp_path / "study.db"
    keeper = kept(file, notes)
    keeper.begin([], nothing)
    for id in range(1, 8):
        keeper.add(outcome(id), ())
    assert trials(file) >= 1  # the first at once
    keeper.finish([outcome(id) for id in range(1, 8)], nothing)
    assert trials(file) == 7
    assert notes == []


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "study.db" / "x").mkdir(parents=True)
    notes: list[str] = []
    keeper = kept(tmp_path / "study.db", notes)
    keeper.begin([outcome(1)], nothing)
    keeper.add(outcome(2), ())
    keeper.finish([outcome(1), outcome(2)], nothing)
    assert len(notes) == 2  # when it happened, and at the end
    (tmp_path / "study.db" / "x").rmdir()
    (tmp_path / "study.db").rmdir()
    again = kept(tmp_path / "study.db", notes)
    again.begin([outcome(1), outcome(2)], nothing)
    again.finish([outcome(1), outcome(2)], nothing)
    assert len(notes) == 2
    assert trials(tmp_path / "study.db") == 2


def test_damaged_while_it_is_open(tmp_path: Path) -> None:
    notes: list[str] = []
    file = tmp_path / "study.db"
    keeper = kept(file, notes)
    keeper.begin([outcome(1)], nothing)
    file.write_bytes(b"no database" * 1000)
    keeper.add(outcome(2), ())
    keeper.finish([outcome(1), outcome(2)], nothing)
    assert trials(file) == 2


def test_another_programs_files_beside_it_stay(tmp_path: Path) -> None:
    (tmp_path / "study.db.backup").write_text("mine")
    keeper = kept(tmp_path / "study.db", [])
    keeper.begin([outcome(1)], nothing)
    keeper.finish([outcome(1)], nothing)
    assert (tmp_path / "study.db.backup").read_text() == "mine"


def test_what_cannot_even_be_made(tmp_path: Path) -> None:
    def fail() -> Mirrored:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    notes: list[str] = []
    keeper = MirrorKeeper(fail, notes.append)
    keeper.begin([outcome(1)], nothing)
    keeper.outdate()
    keeper.add(outcome(2), ())
    keeper.finish([outcome(1), outcome(2)], nothing)
    assert "No space left on device" in notes[0]
