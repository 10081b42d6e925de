from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from paretune.core.errors import StateError, UsageError
from paretune.core.os_errors import explained, readable


@pytest.mark.parametrize(
    "number",
    [
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.EIO,
        errno.ELOOP,
        errno.ENOLCK,
        errno.EBUSY,
    ],
)
def test_what_a_place_refuses_is_told_with_its_path_and_reason(number: int, tmp_path: Path) -> None:
    error = explained(OSError(number, os.strerror(number), str(tmp_path / "x")))
    assert isinstance(error, UsageError)
    assert error.message == f"{str(tmp_path / 'x')!r}: {os.strerror(number)}"


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN],
)
def test_what_has_run_out_is_a_state(number: int) -> None:
    error = explained(OSError(number, os.strerror(number)))
    assert isinstance(error, StateError)
    assert error.hint is not None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "x"),
        OSError("x"),
        ValueError("x"),
        OSError(errno.EINVAL, "x"),
        RuntimeError("x"),
        KeyError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ],
)
def test_a_mistake_in_the_code_stays_one(error: Exception) -> None:
    assert explained(error) is None


def test_in_a_study_or_store_it_is_a_state(tmp_path: Path) -> None:
    (tmp_path / "study" / "candidates" / "0001").mkdir(parents=True)
    (tmp_path / "study" / ".lock").touch()
    (tmp_path / "store" / "objects").mkdir(parents=True)
    (tmp_path / "store" / "actions").mkdir(parents=True)
    for place in ("study/candidates/0001/outcome.json", "study/results.json", "store/locks/a"):
        error = PermissionError(errno.EACCES, "no", str(tmp_path / place))
        assert isinstance(explained(error), StateError), place
    other = PermissionError(errno.EACCES, "no", str(tmp_path / "data.jsonl"))
    assert isinstance(explained(other), UsageError)


def test_no_memory_and_no_thread() -> None:
    assert isinstance(explained(MemoryError()), StateError)
    assert isinstance(explained(RuntimeError("can't start new thread")), StateError)


def test_names_that_are_not_utf8_are_readable() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert readable(name) == "caf\\xe9"
    assert readable("naïve 日本") == "naïve 日本"
    assert readable("\ud83d half") == "\\ud83d half"
    with pytest.raises(UnicodeEncodeError) as seen:
        name.encode()
    error = explained(seen.value)
    assert isinstance(error, UsageError)
    assert "'caf\\xe9'" in error.message
