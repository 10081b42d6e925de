"""Targets that the user has made known: their file, and that only what is named is used."""

from __future__ import annotations

import shutil
import stat
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from fake_study import write_fake_study

from paretune.config import Plan, load
from paretune.config import known_targets as known
from paretune.config.schema import DeclaredTarget, TargetSection
from paretune.core.errors import ConfigError, UsageError

BOARD = DeclaredTarget(ssh="pi@board", python="/home/pi/env/bin/python")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who knows no target."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "paretune"


def plan_of(folder: Path, target: Any, targets: dict[str, Any] | None = None) -> Plan:
    shutil.rmtree(folder / "model", ignore_errors=True)
    return load(write_fake_study(folder, {"x": 1}, target=target, targets=targets or {}))


def test_what_is_remembered_is_known_until_it_is_forgotten(folder: Path) -> None:
    assert known.known_targets() == {}
    assert known.remember("board", BOARD) == folder / "targets.yaml"
    other = DeclaredTarget(ssh="yes", store="~/störe")
    known.remember("yes", other)
    assert known.known_targets() == {"board": BOARD, "yes": other}
    known.remember("board", other)
    assert known.known_target("board") == other
    assert known.forget("board") == other
    assert list(known.known_targets()) == ["yes"]
    with pytest.raises(UsageError, match="no target named 'board' is known"):
        known.forget("board")
    assert not stat.S_IMODE((folder / "targets.yaml").stat().st_mode) & 0o022


def test_targets_that_are_added_at_the_same_time_are_all_kept() -> None:
    names = [f"board-{number}" for number in range(12)]
    threads = [threading.Thread(target=known.remember, args=(name, BOARD)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known.known_targets()) == sorted(names)


def test_the_file_has_the_form_of_a_configuration(folder: Path) -> None:
    known.remember("board", BOARD)
    read = yaml.safe_load((folder / "targets.yaml").read_text())
    assert read == {"targets": {"board": {"ssh": "pi@board", "python": "/home/pi/env/bin/python"}}}


def test_by_default_it_is_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert known.known_targets_file() == tmp_path / ".config" / "paretune" / "targets.yaml"


def test_a_configuration_uses_a_known_target_that_it_names(tmp_path: Path) -> None:
    known.remember("board", BOARD)
    known.remember("other", DeclaredTarget(ssh="other"))
    plan = plan_of(tmp_path, {"measure": "board", "threads": [1]})
    assert plan.target.measure == "board"
    assert dict(plan.target.declared) == {"board": BOARD}
    known.forget("board")
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(plan.to_json()))
    assert load(again).target == plan.target, "the study does not depend on the user's file"


def test_a_target_of_the_configuration_wins(tmp_path: Path) -> None:
    known.remember("board", BOARD)
    own = {"board": {"ssh": "another"}}
    plan = plan_of(tmp_path, {"measure": "board", "threads": [1]}, own)
    assert plan.target.declared["board"].ssh == "another"


def test_known_targets_are_not_used_unless_they_are_named(tmp_path: Path, folder: Path) -> None:
    known.remember("board", BOARD)
    for target in ({"threads": [1]}, {"name": "local"}, {"measure": "local", "threads": [1]}):
        plan = plan_of(tmp_path, target)
        assert plan.target.declared == {}
        assert "board" not in str(plan.to_json())
    (folder / "targets.yaml").write_text("not: [a")
    plan_of(tmp_path, {"threads": [1]})  # nothing is named, so the file is not even read


def test_a_list_of_targets_may_name_known_ones(tmp_path: Path) -> None:
    known.remember("board", BOARD)
    known.remember("other", DeclaredTarget(ssh="other"))
    uses = [{"name": "local"}, {"name": "board", "threads": [1]}]
    plan = plan_of(tmp_path, uses)
    assert dict(plan.target.declared) == {"board": BOARD}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(plan.to_json()))
    known.forget("board")
    assert dict(load(tmp_path / "again.yaml").target.declared) == {"board": BOARD}


def test_several_targets_may_be_named() -> None:
    known.remember("a", BOARD)
    known.remember("b", BOARD)
    known.remember("c", BOARD)
    several = [SimpleNamespace(name="a"), SimpleNamespace(name="local"), SimpleNamespace(name="b")]
    assert list(known.with_known({}, several)) == ["a", "b"]
    assert list(known.with_known({"b": BOARD}, TargetSection(measure="b"))) == ["b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targets:\n  board: {shh: pi@board}", "targets.yaml:2: targets.board.shh: unknown key"),
        ("targets:\n  board: {}", "targets.yaml:2: targets.board: expected `ssh:`"),
        ("targets:\n  board: {ssh: -oX}", "targets.yaml:2: targets.board.ssh: '-oX' is not a host"),
        ("targets: [", "targets.yaml:"),
        (
            "target:\n  board: {ssh: x}",
            "targets.yaml:1: target: unknown key 'target'\n.*`targets:`",
        ),
        ("targets: {}\nboard: {ssh: x}", "targets.yaml:2: board: unknown key 'board'"),
        ("- board", "targets.yaml.*: expected the key `targets:`"),
    ],
)
def test_a_wrong_file_is_reported_where_it_is_wrong(
    tmp_path: Path, folder: Path, text: str, told: str
) -> None:
    folder.mkdir(parents=True)
    (folder / "targets.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        plan_of(tmp_path, {"measure": "board", "threads": [1]})
    with pytest.raises(ConfigError, match=told):
        known.remember("other", BOARD)
    assert (folder / "targets.yaml").read_text() == text, "it is not overwritten"
