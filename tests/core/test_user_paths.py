from __future__ import annotations

import os
from pathlib import Path

import pytest

from paretune.core.errors import StateError, UsageError
from paretune.core.user_paths import default_store, expanded, user_path


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~") == str(tmp_path)
    assert user_path("~/a b/c") == tmp_path / "a b" / "c"
    for plain in ("a~", "./~", "~no-such-user-here", "~no-such-user-here/x", "a/~/b"):
        assert expanded(plain) == plain


@pytest.mark.parametrize("text", ["", "a\0b", os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff/x")])
def test_what_no_file_of_ours_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        user_path(text)


@pytest.mark.parametrize(
    "text",
    ["why?", "50%20off", "#1", "a;b'c\"d", "new\nline", "-x", "日本 語", "🎈", " ", "a" * 255],
)
def test_odd_names_are_names(text: str) -> None:
    assert user_path(text) == Path(text)


def test_a_link_to_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)
    os.symlink(odd, os.fsencode(tmp_path / "link"))
    with pytest.raises(UsageError, match="not UTF-8"):
        user_path(tmp_path / "link" / "study")


def test_without_a_home_there_is_no_default_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PARETUNE_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no entry in /etc/passwd either
    with pytest.raises(StateError, match="home folder") as seen:
        default_store()
    assert "--store" in str(seen.value)
    assert "PARETUNE_STORE" in str(seen.value)
    with pytest.raises(UsageError, match="passwd"):
        user_path("~/models")


def test_the_store_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PARETUNE_STORE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_store() == tmp_path / ".cache" / "paretune"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    assert default_store() == tmp_path / ".cache" / "paretune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_store() == tmp_path / "cache" / "paretune"
    monkeypatch.setenv("PARETUNE_STORE", "~/store")
    assert default_store() == tmp_path / "store"
