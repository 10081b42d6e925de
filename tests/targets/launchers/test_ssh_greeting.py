"""A login that prints at each command: neither messages nor files of a target are lost by it."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from paretune.core.stamps import take
from paretune.targets.launchers.examined import examine
from paretune.targets.launchers.ssh import SshTarget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.ssh import SshHost
from tests.targets.sshd import Sshd


@pytest.fixture
def greeting(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output of each command begins with two lines, the second without a line break."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nprintf 'Welcome {{1}}\\n\\033]0;board\\007'\nexec {sshd.client}/ssh \"$@\"\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("greeting")
def test_what_a_login_prints_is_read_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SshHost("board")) as host:
        program, found = examine(host, sys.executable, str(tmp_path / "far"))
    assert program.python == sys.executable
    assert found.store == str(tmp_path / "far")
    monkeypatch.setattr("paretune.targets.transports.host_files.FROM_BYTES", 1)
    (tmp_path / "a").write_bytes(b"content")
    file = take(tmp_path / "a")
    with SshTarget(
        name="board",
        host="board",
        python=sys.executable,
        store=str(tmp_path / "far"),
    ) as target:
        assert target.info().name == "board"
        target.transport.send([file])
        assert target.transport.by_rsync == 0, "rsync does not work there, and is not tried"
        back = FileStore(tmp_path / "back")
        target.transport.fetch({file.sha256: file.stamp.size}, back)
    assert back.path(file.sha256).read_bytes() == b"content"
