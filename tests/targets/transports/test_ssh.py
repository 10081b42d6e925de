"""Commands over ssh, and what it says where it does not connect."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paretune.core.errors import UsageError
from paretune.targets.transports.ssh import CommandError, SshHost
from tests.targets.sshd import Sshd


@pytest.fixture
def opened() -> Iterator[Callable[..., SshHost]]:
    """Makes hosts that are closed at the end."""
    with ExitStack() as stack:

        def make(*arguments: str) -> SshHost:
            made = SshHost(*arguments)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def host(sshd: Sshd, opened: Callable[..., SshHost]) -> SshHost:
    return opened("board")


def test_a_command_and_its_arguments_arrive_as_they_are(host: SshHost) -> None:
    program = "import sys; sys.stdout.write(repr(sys.argv[1:]) + sys.stdin.read())"
    words = ["a b", "$HOME", "'", '"', "*", "", "~", "ü"]
    said = host.run(sys.executable, "-c", program, *words, given=b"input")
    assert said.decode() == repr(words) + "input"


def test_a_command_that_fails(host: SshHost) -> None:
    with pytest.raises(CommandError, match="false: exit status 1") as caught:
        host.run("false")
    assert caught.value.status == 1
    with pytest.raises(CommandError, match="not found") as caught:
        host.run("no-such-program-here")
    assert caught.value.status == 127


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-such-host.invalid", "does not find the host.*no-such-host"),
        ("board-stranger", "refuses this user's key.*Permission denied"),
        ("board-unknown", "host key is unknown.*Host key verification failed"),
    ],
)
def test_refusals_are_readable(
    sshd: Sshd, name: str, told: str, opened: Callable[..., SshHost]
) -> None:
    host = opened(name)
    with pytest.raises(UsageError, match=told) as caught:
        host.run("true")
    assert f"ssh {name}" in str(caught.value) or f"{name} true" in str(caught.value)


def test_a_port_where_nobody_listens(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost]
) -> None:
    config = (sshd.folder / "ssh_config").read_text()
    (tmp_path / "config").write_text("Host board\n  Port 1\n" + config)
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {tmp_path}/config "$@"\n')
    program.chmod(0o755)
    with pytest.raises(UsageError, match=r"cannot be reached.*refused"):
        opened("board", str(program)).run("true")


def test_a_configuration_that_ssh_does_not_accept(
    tmp_path: Path, opened: Callable[..., SshHost]
) -> None:
    (tmp_path / "config").write_text("NoSuchOption yes\n")
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\nexec ssh -F {tmp_path}/config "$@"\n')
    program.chmod(0o755)
    with pytest.raises(UsageError, match="does not accept its configuration"):
        opened("board", str(program)).run("true")


def test_without_a_client(opened: Callable[..., SshHost]) -> None:
    with pytest.raises(UsageError, match="cannot be started"):
        opened("board", "/nowhere/ssh").run("true")


def test_later_connections_use_the_first_ones(sshd: Sshd, host: SshHost) -> None:
    command = host.command("cat", master=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(b"x\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"x\n"
        before = len(sshd.connections())
        program = "import sys; print(); sys.stdout.flush(); sys.stdin.read()"
        second = host.command(sys.executable, "-c", program)
        with subprocess.Popen(second, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            other.stdout.readline()
            assert len(sshd.connections()) == before
            other.stdin.close()
        first.stdin.close()
