"""Folders for jobs' temporary files: empty at the start, gone at the end, never another's."""

from __future__ import annotations

import os
from pathlib import Path

from paretune.core.folders import remove_files
from paretune.store.staging import Staging
from paretune.targets.launchers.scratch import ScratchFolders


def made(root: Path) -> ScratchFolders:
    return ScratchFolders(Staging(root / "staging", root / "locks").folder)


def left(root: Path) -> list[Path]:
    return [*(root / "staging").iterdir(), *(root / "locks").iterdir()]


def test_no_file_is_left_when_a_job_has_ended_and_no_folder_at_the_close(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    with scratch.folder() as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").write_text("x")
        (folder / "a" / "link").symlink_to(tmp_path)
    # Its folders may be going just now: they are not listed.
    assert not os.path.lexists(folder / "a" / "b" / "file")
    assert not os.path.lexists(folder / "a" / "link")
    scratch.close()
    assert left(tmp_path) == []
    assert tmp_path.is_dir()


def test_a_folder_is_given_to_the_next_job_empty(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    with scratch.folder() as first:
        (first / "file").write_text("x")
    with scratch.folder() as second:
        assert second == first
        assert list(second.iterdir()) == []
    scratch.close()


def test_jobs_side_by_side_have_folders_of_their_own(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    with scratch.folder() as one, scratch.folder() as other:
        assert one != other
    scratch.close()
    assert left(tmp_path) == []


def test_a_folder_that_a_job_removed_or_closed_is_not_used_again(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    with scratch.folder() as first:
        first.rmdir()
    with scratch.folder() as second:
        assert second != first
        second.chmod(0o500)
    with scratch.folder() as third:
        assert third not in (first, second)
    scratch.close()
    assert left(tmp_path) == []


def test_a_folder_that_was_put_in_the_place_of_a_jobs_is_not_used_again(tmp_path: Path) -> None:
    scratch = made(tmp_path)
    with scratch.folder() as first:
        os.rename(first, tmp_path / "elsewhere")
        first.mkdir()
    with scratch.folder() as second:
        assert second != first
    scratch.close()
    assert left(tmp_path) == []


def test_files_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(kept)
    (folder / "file").write_text("x")
    assert remove_files(folder) == [str(folder / "a" / "b"), str(folder / "a")]
    assert (kept / "file").read_text() == "x"
    assert remove_files(tmp_path / "not there") == []
