"""Commands over ssh, and what it says where it does not connect."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paretune.core.errors import TargetRefusesError, TransientError, UsageError
from paretune.core.stamps import take
from paretune.targets.transports import host_files
from paretune.targets.transports.host import CommandError
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.ssh import SshHost
from tests.targets.sshd import Sshd, required


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


def with_configuration(sshd: Sshd, folder: Path, text: str) -> str:
    """Return an ``ssh`` whose user has so much more in the configuration of ``board``."""
    config = (sshd.folder / "ssh_config").read_text()
    (folder / "config").write_text(f"Host board*\n{text}\n{config}")
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/config "$@"\n')
    program.chmod(0o755)
    return str(program)


FORWARDING = """
  IdentityAgent {folder}/agent
  ForwardAgent yes
  ForwardX11 yes
  ForwardX11Trusted yes
  ExitOnForwardFailure yes
  LocalForward {socket} 127.0.0.1:1
  RemoteForward {socket}-far 127.0.0.1:1
  Tunnel yes
  PermitLocalCommand yes
  LocalCommand touch {touched}
  RemoteCommand touch {touched}
  ControlPersist yes
"""


def wait_for_socket(path: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_is_forwarded_and_no_other_command_runs_whatever_is_configured(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    touched, socket = tmp_path / "touched", tmp_path / "s"
    text = FORWARDING.format(touched=touched, socket=socket, folder=tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    path = tmp_path / "agent"
    keys = subprocess.Popen([required("ssh-agent"), "-D", "-a", path], stdout=subprocess.DEVNULL)
    with keys:
        wait_for_socket(path, keys)
        host = opened("board", with_configuration(sshd, tmp_path, text))
        command = host.command("env", master=True)
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        keys.kill()
    names = {line.partition("=")[0] for line in said.stdout.splitlines()}
    assert "SSH_CONNECTION" in names
    assert not names & {"SSH_AUTH_SOCK", "DISPLAY", "SSH_TUNNEL"}
    assert not touched.exists()
    assert not socket.exists()
    assert not Path(f"{socket}-far").exists()
    assert host.run("echo", "again") == b"again\n"
    shown = subprocess.run(
        [*command[:-3], "-G", *command[-3:-1]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for line in (
        "forwardagent no",
        "forwardx11 no",
        "clearallforwardings yes",
        "tunnel false",
        "permitlocalcommand no",
        "controlpersist no",
        "batchmode yes",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("checking", "reached"),
    [("yes", False), ("ask", False), ("accept-new", True), ("no", True)],
)
def test_an_unknown_host_key_is_refused_unless_the_user_says_otherwise(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost], checking: str, reached: bool
) -> None:
    text = f"  StrictHostKeyChecking {checking}\n  UserKnownHostsFile {tmp_path}/known"
    host = opened("board", with_configuration(sshd, tmp_path, text))
    if reached:
        assert host.run("echo", "here") == b"here\n"
    else:
        with pytest.raises(UsageError, match="host key is unknown"):
            host.run("true")


def test_a_host_that_writes_without_an_end(tmp_path: Path, opened: Callable[..., SshHost]) -> None:
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match="board: it writes without an end"):
        opened("board", str(program)).run("true")


def test_a_host_that_takes_nothing_of_a_file(
    tmp_path: Path, opened: Callable[..., SshHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_files, "_STALLED_S", 0.1)
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\ncase "$1" in -G) exit 0 ;; esac\nexec sleep 900\n')
    program.chmod(0o755)
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    transport = HostTransport(opened("board", str(program)))
    with pytest.raises(TransientError, match="sent to board: it took nothing for 0 s"):
        transport.send([take(tmp_path / "large")])


@pytest.mark.parametrize(
    "text",
    [
        "  StdinNull yes",
        "  SessionType none",
        "  ForkAfterAuthentication yes",
        "  RequestTTY force\n  RemoteCommand echo other",
        "  ControlMaster auto\n  ControlPath {folder}/shared\n  ControlPersist yes",
    ],
)
def test_options_of_the_user_do_not_take_the_streams_of_a_command(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost], text: str
) -> None:
    program = with_configuration(sshd, tmp_path, text.format(folder=tmp_path))
    assert opened("board", program).run("cat", given=b"input") == b"input"
    assert not (tmp_path / "shared").exists()


def test_why_it_does_not_connect_is_known_of_a_silent_ssh(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost]
) -> None:
    program = with_configuration(sshd, tmp_path, "  LogLevel QUIET")
    with pytest.raises(TargetRefusesError, match="refuses this user's key"):
        opened("board-stranger", program).run("true")


def test_an_sshd_without_a_common_algorithm_is_not_waited_for(
    sshd: Sshd, tmp_path: Path, opened: Callable[..., SshHost]
) -> None:
    program = with_configuration(sshd, tmp_path, "  HostKeyAlgorithms rsa-sha2-512")
    with pytest.raises(TargetRefusesError, match=r"in common \(.*no matching host key type"):
        opened("board", program).run("true")


@pytest.mark.parametrize(
    ("jump", "kind", "told"),
    [
        ("127.0.0.1:1", UsageError, r"cannot be reached \(.*port 1: Connection refused\)"),
        ("board-stranger", TargetRefusesError, r"refuses this user's key \(.*Permission denied"),
    ],
)
def test_what_is_wrong_with_a_jump_host_is_told(
    sshd: Sshd,
    tmp_path: Path,
    opened: Callable[..., SshHost],
    jump: str,
    kind: type[UsageError],
    told: str,
) -> None:
    program = with_configuration(sshd, tmp_path, "")
    config = (tmp_path / "config").read_text()
    (tmp_path / "config").write_text(f"Host behind\n  ProxyJump {jump}\n{config}")
    with pytest.raises(kind, match=told):
        opened("behind", program).run("true")
