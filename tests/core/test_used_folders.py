"""A folder that can be made again goes while no process uses it, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paretune.core import used_folders
from paretune.core.used_folders import hold, remove_unused

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")

HOLDER = (
    "import sys; from pathlib import Path\n"
    "from paretune.core.used_folders import hold\n"
    "print(hold(Path(sys.argv[1])), flush=True); sys.stdin.read()\n"
)


def made(parent: Path, name: str, days: float = 0.0) -> Path:
    folder = parent / name
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("content")
    written = time.time() - days * 86_400
    os.utime(folder, (written, written))
    return folder


def test_one_that_a_process_uses_stays_until_the_process_ends(tmp_path: Path) -> None:
    used, unused = made(tmp_path, "used"), made(tmp_path, "unused")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(used)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert remove_unused(tmp_path) == 1
        assert not unused.exists()
        assert (used / "inner" / "file").read_text() == "content"
        process.kill()
    assert remove_unused(tmp_path) == 1
    assert not [*tmp_path.iterdir()]


def test_one_that_is_renamed_is_held_under_its_new_name(tmp_path: Path) -> None:
    folder = made(tmp_path, ".aside")
    assert hold(folder)
    folder.rename(tmp_path / "place")
    assert remove_unused(tmp_path) == 0
    assert (tmp_path / "place").is_dir()
    os.close(used_folders._held.pop(folder))
    assert remove_unused(tmp_path) == 1


def test_one_that_was_removed_has_to_be_made_again(tmp_path: Path) -> None:
    folder = made(tmp_path, "folder")
    assert hold(folder)
    os.close(used_folders._held[folder])  # as if this process had not held it
    assert remove_unused(tmp_path) == 1
    used_folders._held[folder] = os.open(tmp_path, os.O_RDONLY)
    assert not hold(folder)
    made(tmp_path, "folder")
    assert hold(folder)
    assert remove_unused(tmp_path) == 0
    os.close(used_folders._held.pop(folder))


def test_they_go_by_the_time_of_their_last_use(tmp_path: Path) -> None:
    old, new, used_again = made(tmp_path, "old", 40), made(tmp_path, "new"), made(tmp_path, "x", 40)
    assert hold(used_again)
    os.close(used_folders._held.pop(used_again))
    assert remove_unused(tmp_path, 30 * 86_400) == 1
    assert not old.exists()
    assert new.is_dir()
    assert used_again.is_dir()


def test_what_a_killed_removal_left_goes_and_links_and_files_stay(tmp_path: Path) -> None:
    parent, outside = tmp_path / "parent", made(tmp_path, "outside")
    made(parent, "key.gone")
    (parent / "link").symlink_to(outside)
    (parent / "file").write_text("")
    assert remove_unused(parent, 86_400.0) == 1
    assert {path.name for path in parent.iterdir()} == {"link", "file"}
    assert (outside / "inner" / "file").exists()
    assert remove_unused(tmp_path / "absent") == 0
