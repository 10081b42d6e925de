"""An sshd of a test's own on a loopback port, with keys and a configuration of its own.

The host is called ``board`` or as a test wants. The configuration reaches the ssh client by a
program ``ssh`` in front of the system's on the PATH, because OpenSSH takes the home folder from the
user database.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

_STARTS_WITHIN_S = 60.0


@dataclass
class Sshd:
    """A running sshd.

    Attributes:
        folder: Its files.
        process: It.
        client: The folder of the ``ssh`` that knows it.
        home: The home folder of whoever logs in.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    client: Path
    home: Path

    def programs(self, word: str) -> list[psutil.Process]:
        """Return the programs of its connections that have a word in their command."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                if word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def connections(self) -> list[psutil.Process]:
        """Return the processes that serve a connection each."""
        return psutil.Process(self.process.pid).children()

    def cut(self) -> None:
        """Kill every connection, with the programs that run through it."""
        for connection in self.connections():
            for process in (connection, *connection.children(recursive=True)):
                if process.is_running():
                    process.kill()

    def stop(self) -> None:
        """End it, and its connections; may be called again."""
        if self.process.poll() is None:
            self.cut()
            self.process.kill()
            self.process.wait()

    def start_again(self) -> None:
        """Start it where it was, after `stop`."""
        self.process = _serve(self.folder)


def required(program: str) -> str:
    """Return a program's path; without it, the test is skipped, or fails where CI is set."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is not None:
        return found
    reason = f"{program} is not installed (Debian: openssh-server, openssh-client, util-linux)"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start(folder: Path, name: str = "board") -> Sshd:
    """Start an sshd that lets this user in by a key.

    Args:
        folder: Its files; it is made.
        name: The host's name; ``NAME-stranger`` has a key that is refused, ``NAME-unknown`` does
            not know the host.
    """
    client, keygen = required("ssh"), required("ssh-keygen")
    home = folder / "home"
    home.mkdir(parents=True)
    for key in ("host", "client", "stranger"):
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
        )
    shutil.copyfile(folder / "client.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "KbdInteractiveAuthentication no\nMaxStartups 100\n"
        # Its own place for the machine's locks: tests do not wait for each other's measurements.
        f"SetEnv HOME={home} XDG_CACHE_HOME={home}/.cache PARETUNE_MACHINE={home}/machine\n"
    )
    host_key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    (folder / "ssh_config").write_text(
        f"Host {name} {name}-*\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
        f"  IdentitiesOnly yes\n  IdentityAgent none\n  StrictHostKeyChecking yes\n"
        "  GlobalKnownHostsFile /dev/null\n"
        f"Host {name} {name}-no-port\n  IdentityFile {folder}/client\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n"
        f"Host {name}-stranger\n  IdentityFile {folder}/stranger\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n"
        f"Host {name}-unknown\n  IdentityFile {folder}/client\n  UserKnownHostsFile /dev/null\n"
    )
    programs = _client(folder / "bin", client, folder / "ssh_config")
    if os.getuid() == 0:  # its privilege separation needs this folder
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    (folder / "port").write_text(str(port))
    return Sshd(folder, _serve(folder), programs, home)


def client_of(folder: Path, started: Sequence[Sshd]) -> Path:
    """Return the folder of an ``ssh`` that knows several.

    Args:
        folder: It is made.
        started: They have different names.
    """
    folder.mkdir()
    includes = "".join(f"Include {each.folder}/ssh_config\n" for each in started)
    (folder / "ssh_config").write_text(includes)
    return _client(folder / "bin", required("ssh"), folder / "ssh_config")


def _client(place: Path, ssh: str, configuration: Path) -> Path:
    place.mkdir()
    (place / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {configuration} "$@"\n')
    (place / "ssh").chmod(0o755)
    return place


def _serve(folder: Path) -> subprocess.Popen[bytes]:
    """Start the sshd of a folder; it ends with this process, however that ends."""
    ends_with_parent = [required("setpriv"), "--pdeathsig", "KILL"]
    command = [required("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen([*ends_with_parent, *command], stderr=log, stdout=log)
    _wait_for(int((folder / "port").read_text()), process, folder / "log")
    return process


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
    raise AssertionError(f"sshd did not start: {log.read_text()}")
