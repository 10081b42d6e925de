"""Large files by rsync, where both sides have it; else, and small ones, in our own stream."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from paretune.core.errors import TransientError
from paretune.core.stamps import Stamped, take
from paretune.targets.transports import host_files, rsync
from paretune.targets.transports.files import INCOMING, FileStore
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.rsync import Rsync
from paretune.targets.transports.ssh import SshHost
from tests.targets.transports.test_ssh_both_ways import files, transport

__all__ = ["transport"]

needs_rsync = pytest.mark.skipif(
    shutil.which("rsync") is None, reason="rsync is not installed (Debian: rsync)"
)


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file has 1 MB here."""
    monkeypatch.setattr(host_files, "FROM_BYTES", 1_000_000)


@pytest.fixture
def large(tmp_path: Path) -> list[Stamped]:
    return files(tmp_path / "near dür 'x", a=os.urandom(3_000_000), b=b"small")


def is_there(transport: HostTransport) -> None:
    if not transport._rsync.there():
        pytest.skip("rsync is not installed where sshd runs its commands (Debian: rsync)")


@needs_rsync
def test_large_files_are_brought_by_rsync(
    transport: HostTransport, large: list[Stamped], tmp_path: Path
) -> None:
    is_there(transport)
    transport.store = str(tmp_path / "far")
    (tmp_path / "far").mkdir()
    transport.send(large)
    far = FileStore(tmp_path / "far")
    assert far.missing([file.sha256 for file in large]) == ()
    assert far.path(large[0].sha256).read_bytes() == large[0].path.read_bytes()
    assert not list((tmp_path / "far" / INCOMING).iterdir())
    assert (transport.files, transport.by_rsync) == (2, 2)
    assert transport.bytes == sum(file.stamp.size for file in large)
    transport.send(files(tmp_path / "more", c=b"small"))
    assert (transport.files, transport.by_rsync) == (3, 2), "one command for a small file"


@needs_rsync
def test_a_file_that_changed_on_its_way_is_not_taken(
    transport: HostTransport, large: list[Stamped], tmp_path: Path
) -> None:
    is_there(transport)
    transport.store = str(tmp_path / "far")
    (tmp_path / "far").mkdir()
    large[0].path.write_bytes(bytes(3_000_000))
    with pytest.raises(TransientError, match="another content than was announced"):
        transport.send(large)
    assert FileStore(tmp_path / "far").missing([large[0].sha256])


@needs_rsync
def test_a_folder_that_cannot_be_written_is_named(
    transport: HostTransport, large: list[Stamped]
) -> None:
    is_there(transport)
    transport.store = "/proc/nowhere"
    with pytest.raises(TransientError, match="sent to board: rsync: "):
        transport.send(large)


@needs_rsync
def test_after_two_failures_the_stream_is_used(
    transport: HostTransport,
    large: list[Stamped],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_there(transport)
    transport.store = str(tmp_path / "far")
    (tmp_path / "far").mkdir()
    broken = tmp_path / "bin" / "rsync"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'it is another rsync' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    for _ in range(2):
        with pytest.raises(TransientError, match="rsync: it is another rsync"):
            transport.send(large)
    transport.send(large)
    assert FileStore(tmp_path / "far").missing([file.sha256 for file in large]) == ()
    assert transport.by_rsync == 0


def test_without_it_the_stream_is_used(
    transport: HostTransport,
    large: list[Stamped],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport.store = str(tmp_path / "far")
    monkeypatch.setattr(rsync.shutil, "which", lambda name: None)
    transport.send(large)
    assert FileStore(tmp_path / "far").missing([file.sha256 for file in large]) == ()
    assert (transport.files, transport.by_rsync) == (2, 0)


@pytest.mark.parametrize("host", ["ssh://me@board:22", "fe80::1", "me@fe80::1"])
def test_a_host_that_rsync_reads_otherwise(host: str) -> None:
    opened = SshHost(host)
    try:
        assert not Rsync(opened).there()
    finally:
        opened.close()


def test_its_connection_is_the_users_ssh_with_nothing_forwarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "rsync"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\nls -l "$(eval '
        f'echo \\"\\${{$(($#-1))}}\\")" > {tmp_path}/listed\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "weights").write_bytes(b"x")
    file = take(tmp_path / "weights")
    started: list[subprocess.Popen[bytes]] = []
    host = SshHost("me@board")
    try:
        for compress in (False, True):
            Rsync(host).send([file], "/far store", compress=compress, started=started.append)
            arguments = (tmp_path / "arguments").read_text().splitlines()
            assert ("--compress" in arguments) is compress
    finally:
        host.close()
    assert len(started) == 2
    assert arguments[-1] == "me@board:/far store/incoming/"
    (shell,) = (word for word in arguments if word.startswith("--rsh="))
    words = shlex.split(shell.removeprefix("--rsh="))
    assert words[0] == "ssh"
    assert {"ForwardAgent=no", "ClearAllForwardings=yes", "BatchMode=yes"} <= set(words)
    assert file.sha256 in (tmp_path / "listed").read_text()


def test_what_another_program_has_brought(tmp_path: Path) -> None:
    store, incoming = FileStore(tmp_path), tmp_path / INCOMING
    incoming.mkdir()
    assert store.take_in() == 0
    (tmp_path / "weights").write_bytes(b"x")
    file = take(tmp_path / "weights")
    (incoming / file.sha256).write_bytes(b"x")
    (incoming / "words.txt").write_bytes(b"x")
    (incoming / ("0" * 64)).symlink_to(tmp_path / "weights")
    (incoming / ".partial").mkdir()
    (incoming / ".partial" / ("1" * 64)).write_bytes(b"y")
    assert {path.name for path, _ in store.found()} >= {file.sha256, "1" * 64}
    assert store.take_in() == 1
    assert store.missing([file.sha256]) == ()
    assert not (tmp_path / "files" / ("0" * 64)).exists()
    (incoming / ("2" * 64)).write_bytes(b"x")
    with pytest.raises(TransientError, match="another content"):
        store.take_in()
    assert not (incoming / ("2" * 64)).exists()
