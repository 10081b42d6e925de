"""Each search has a part of a shared folder; what a killed one left is removed by the next one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paretune.core.errors import UsageError
from paretune.targets.transports import shared_place
from paretune.targets.transports.shared_place import SharedPlace

_PROGRAM = """
import sys
from pathlib import Path
from paretune.targets.transports.shared_place import SharedPlace
place = SharedPlace(Path(sys.argv[1]))
place.open()
(place.path / "file").write_text("sent")
print(place.path, flush=True)
sys.stdin.read()
place.close()
"""


@contextmanager
def searching(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that has a part of a folder; yield it and its part."""
    command = [sys.executable, "-c", _PROGRAM, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def opened_and_closed(folder: Path) -> None:
    place = SharedPlace(folder)
    place.open()
    assert (place.path / "owner").is_file()
    place.close()
    assert not place.path.exists()


def test_what_a_killed_search_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with searching(tmp_path) as (process, left):
        opened_and_closed(tmp_path)
        assert (left / "file").is_file(), "it runs"
        process.kill()
        process.wait()
        assert left.is_dir()
        opened_and_closed(tmp_path)
        assert not left.exists()


def test_a_search_removes_its_own_part_at_its_end(tmp_path: Path) -> None:
    with searching(tmp_path) as (process, part):
        process.communicate("")
        assert process.returncode == 0
        assert not part.exists()


def left_by(folder: Path, name: str, owner: dict[str, object] | str | None, age_s: float) -> Path:
    """Make a part that another search has signed so many seconds ago."""
    place = folder / f"search-{name}"
    place.mkdir(parents=True)
    if owner is not None:
        file = place / "owner"
        file.write_text(owner if isinstance(owner, str) else json.dumps(owner))
        os.utime(file, (time.time() - age_s,) * 2)
    os.utime(place, (time.time() - age_s,) * 2)
    return place


@pytest.mark.parametrize(
    "owner", [{"system": "another machine", "pid": 1, "started": 1.0}, {"system": ""}, "{", None]
)
def test_of_another_machine_the_part_of_a_search_that_is_silent_is_removed(
    tmp_path: Path, owner: dict[str, object] | str | None
) -> None:
    lives = left_by(tmp_path, "lives", owner, 600.0)
    ended = left_by(tmp_path, "ended", owner, 2 * shared_place._SILENT_S)
    others = tmp_path / "files of others"
    others.mkdir()
    opened_and_closed(tmp_path)
    assert lives.is_dir()
    assert not ended.exists()
    assert others.is_dir()


def test_a_process_id_that_another_process_has_now_is_not_its_owner(tmp_path: Path) -> None:
    now = shared_place._this_process()
    own = left_by(tmp_path, "own", now, 0.0)
    before = left_by(tmp_path, "before", {**now, "started": now["started"] - 1000.0}, 0.0)
    opened_and_closed(tmp_path)
    assert own.is_dir()
    assert not before.exists()


def test_a_search_signs_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_place, "_SIGNED_EVERY_S", 0.01)
    place = SharedPlace(tmp_path)
    place.open()
    owner = place.path / "owner"
    os.utime(owner, (0.0, 0.0))
    end = time.monotonic() + 60.0
    while owner.stat().st_mtime == 0.0:
        assert time.monotonic() < end
        time.sleep(0.01)
    place.close()
    assert not place.path.exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*away on this machine") as caught:
        SharedPlace(tmp_path / "away").open()
    assert "leave `shared:` out" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_folder_that_cannot_be_written() -> None:
    with pytest.raises(UsageError, match="the folder /proc cannot be written on this machine: "):
        SharedPlace(Path("/proc")).open()
