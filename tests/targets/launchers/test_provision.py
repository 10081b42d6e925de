"""A device that is prepared over ssh, from a folder of small wheels or from an index."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from local_jobs import gone, wait_for
from small_wheels import copy_pip, write_wheel

from paretune.core.errors import ConnectionLostError, UsageError
from paretune.targets.launchers.provision import Device
from paretune.targets.launchers.wish import Wish
from paretune.targets.transports.ssh import SshHost
from tests.targets.sshd import Sshd

SMALL = ("one==1.0", "two")


class Prepared:
    """Prepares the host ``board``, and keeps what was reported."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.lines: list[str] = []

    def __call__(self, **wish: Any) -> Device:
        self.lines.clear()
        host = SshHost(wish.pop("host", "board"))
        self._stack.callback(host.close)
        return Device(host, Wish(**{"python": sys.executable, **wish}), self.lines.append)


@pytest.fixture
def prepared(sshd: Sshd) -> Iterator[Prepared]:
    with ExitStack() as stack:
        yield Prepared(stack)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Wheels that need no index; nothing else is required of an environment."""
    monkeypatch.setattr(Wish, "requirements", lambda _: SMALL)
    house = tmp_path / "house"
    write_wheel(house, "one", ["two"])
    write_wheel(house, "two")
    return house


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def imports(device: Device, *modules: str) -> bool:
    return subprocess.run([device.python, "-c", f"import {','.join(modules)}"]).returncode == 0


def test_it_is_prepared_from_a_wheelhouse_once(
    prepared: Prepared, small: Path, tmp_path: Path
) -> None:
    folder = str(tmp_path / "fär $HOME 'x")
    device = prepared(folder=folder, wheelhouse=small)
    assert not Path(folder).exists(), "to examine it changes nothing"
    assert "makes the environment" in device.plan()
    assert "one==1.0, two" in device.plan()
    device.prepare()
    assert imports(device, "one", "two")
    assert any("copying 3 wheels" in line for line in prepared.lines)
    assert prepared.lines[-1] == "  importing them"
    again = prepared(folder=folder, wheelhouse=small)
    assert "is complete" in again.plan()
    again.prepare()
    assert prepared.lines == []
    assert again.python == device.python


def test_a_lost_connection_is_reported_and_the_next_call_continues(
    sshd: Sshd, prepared: Prepared, small: Path, tmp_path: Path
) -> None:
    uv = sshd.home / ".local" / "bin" / "uv"
    flag = tmp_path / "started"
    program(uv, f"echo $$ > {flag}.part; mv {flag}.part {flag}; sleep 600")
    try:
        device = prepared(folder=str(tmp_path / "far"), wheelhouse=small)
        raised: list[BaseException] = []

        def prepare() -> None:
            try:
                device.prepare()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=prepare)
        thread.start()
        pid = int(wait_for(flag))
        sshd.cut()
        thread.join(120)
        (error,) = raised
        assert isinstance(error, ConnectionLostError), error
        assert "board: the connection was lost while the device was prepared" in error.message
        assert error.hint == "Run the same command again: it continues."
        assert gone(pid), "what ran there has ended with the connection"
    finally:
        uv.unlink()
    again = prepared(folder=str(tmp_path / "far"), wheelhouse=small)
    again.prepare()
    assert any(line.endswith("; 2 are there") for line in prepared.lines)
    assert imports(again, "one", "two")


@pytest.mark.usefixtures("no_index_there", "small")
def test_without_an_index_there_wheels_are_copied(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # here, too: pip finds the wheels of one folder
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "house"))
    device = prepared(folder=str(tmp_path / "far"))
    device.prepare()
    assert any("not from an index there: " in line for line in prepared.lines), prepared.lines
    assert any("copying 3 wheels" in line for line in prepared.lines)
    assert imports(device, "one", "two")


@pytest.mark.usefixtures("no_index_there")
def test_without_any_index_both_reasons_are_reported(
    prepared: Prepared, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    told = r"installing packages in .* failed(?s:.*)\nand there is no wheel of \w+\S* for Python"
    with pytest.raises(UsageError, match=told):
        prepared(folder=str(tmp_path / "far")).prepare()
    (small / "two-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UsageError, match=r"no wheel of two\S* for .* in .*house"):
        prepared(folder=str(tmp_path / "far"), wheelhouse=small).prepare()


def test_an_interpreter_without_pip_gets_that_of_a_wheel(
    prepared: Prepared, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_pip(small)
    monkeypatch.setattr("paretune.targets.launchers.provision.bundled_pip", lambda: [])
    device = prepared(folder=str(tmp_path / "far"), wheelhouse=small)
    device.found = device.found.model_copy(update={"pip": False, "uv": None})
    device.prepare()
    assert imports(device, "one", "two")
    assert not imports(device, "pip")


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"python": "/nowhere/python"}, "3.11 or later: '/nowhere/python' is not a Python"),
        ({"python": "/bin/echo"}, "'/bin/echo' is not a Python interpreter"),
        ({"host": "board-stranger"}, "refuses this user's key"),
        ({"host": "board-unknown"}, "host key is unknown"),
        ({"host": "no-such-host.invalid"}, "does not find the host"),
        ({"folder": "/dev/null/x"}, "/dev/null/x cannot be written: Not a directory\n.*--folder"),
    ],
)
def test_refusals_are_readable(prepared: Prepared, wish: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        prepared(**wish)


def test_versions_that_are_too_old_are_listed(sshd: Sshd, prepared: Prepared) -> None:
    program(sshd.home / "old", "echo 3.9.2")
    with pytest.raises(UsageError, match=r"3.11 or later: ./old is 3.9.2\n.*--python PATH"):
        prepared(python="~/old")


LOOK = {
    "python": [3, 12, 1],
    "executable": "/p",
    "bits": 64,
    "machine": "aarch64",
    "system": "Linux",
    "libc": ["glibc", "2.36"],
    "markers": {},
    "store": "/s",
    "reason": None,
    "free": 10**12,
    "uv": None,
    "venv": True,
    "pip": True,
    "environments": [],
    "gpus": [],
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bits": 32}, "/p is a 32-bit Python, expected 64 bits"),
        ({"free": 10**8}, "0.1 GB are free in /s, expected 0.9 GB for the packages"),
        ({"venv": False}, "/p has no module venv, and there is no uv"),
        ({"reason": "Read-only file system"}, "/s cannot be written: Read-only file system"),
        ({"bits": "many"}, "not a usable Python interpreter: it reports bits"),
        ({"store": "/s\nx"}, "it reports store"),
        ({"store": "/s\u202ex"}, "it reports store: .* invisible characters"),
        ({"executable": "/p\x9b"}, "it reports executable"),
        ({"environments": ["../.."] * 2 + ["a b"]}, "it reports environments"),
        ({"python": 3}, "it reports python"),
    ],
)
def test_what_a_device_lacks_or_says_wrongly_is_refused(
    sshd: Sshd, prepared: Prepared, change: dict[str, Any], told: str
) -> None:
    said_to_look(sshd, change)
    with pytest.raises(UsageError, match=told):
        prepared(python="~/fake")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gpus": ["NVIDIA T4"]}, "GPU packages for Linux x86_64, found Linux aarch64"),
        ({"machine": "x86_64"}, "no NVIDIA GPU was found: .* there\n.*leave --gpu out"),
    ],
)
def test_a_machine_without_a_gpu_that_is_wanted_is_refused(
    sshd: Sshd, prepared: Prepared, change: dict[str, Any], told: str
) -> None:
    said_to_look(sshd, change)
    with pytest.raises(UsageError, match=told):
        prepared(python="~/fake", gpu=True)
    said_to_look(sshd, {"machine": "x86_64", "gpus": ["NVIDIA T4"]})
    device = prepared(python="~/fake", gpu=True)
    assert "NVIDIA T4, " in device.describe()
    assert "onnxruntime-gpu" in device.plan()


@pytest.mark.usefixtures("sshd")
def test_a_build_of_another_index_is_said_where_it_is_not_found(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wish, "requirements", lambda _: ("one==1.0+cpu",))
    write_wheel(tmp_path / "house", "one")
    device = prepared(folder=str(tmp_path / "far"), wheelhouse=tmp_path / "house")
    with pytest.raises(UsageError, match=r"no wheel of one==1.0\+cpu") as caught:
        device.prepare()
    assert "PIP_EXTRA_INDEX_URL" in str(caught.value.hint)


def said_to_look(sshd: Sshd, change: dict[str, Any]) -> None:
    """Have an interpreter ``~/fake`` there say what it is."""
    look = f'case "$*" in *" look "*) cat {sshd.home}/said;; *) echo 3.12.1;; esac'
    program(sshd.home / "fake", look)
    (sshd.home / "said").write_text(json.dumps({**LOOK, **change}))


def test_machines_with_one_home_folder_have_an_environment_each(
    sshd: Sshd, prepared: Prepared
) -> None:
    seen = set()
    for change in ({}, {"machine": "x86_64"}, {"libc": ["musl", "1.2"]}):
        said_to_look(sshd, change)
        seen.add(prepared(python="~/fake").python)
    assert len(seen) == 3


@pytest.mark.parametrize("said", ["{}", '{"missing": 5}', '{"missing": null}'])
def test_a_program_that_does_not_say_what_is_missing(
    sshd: Sshd, prepared: Prepared, small: Path, said: str
) -> None:
    (sshd.home / "said").write_text(json.dumps({**LOOK, "machine": "x86_64"}))
    look = f'*" look "*) cat {sshd.home}/said;; *" missing "*) echo \'{said}\';;'
    program(sshd.home / "fake", f'case "$*" in {look} *) echo 3.12.1;; esac')
    with pytest.raises(UsageError, match="does not say which wheels are missing in /s/env"):
        prepared(python="~/fake", wheelhouse=small).prepare()


def test_no_shell_changes_what_it_is_sent(
    prepared: Prepared, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    command = SshHost.command

    def recorded(host: SshHost, *remote: str, master: bool = False) -> list[str]:
        made = command(host, *remote, master=master)
        sent.append(made[-1])
        return made

    monkeypatch.setattr(SshHost, "command", recorded)
    prepared(folder=str(tmp_path / "far"), wheelhouse=small).prepare()
    assert len(sent) == 5
    for line in sent:  # tcsh takes neither in an argument
        assert "\n" not in line
        assert "!" not in line


def test_an_account_without_a_shell_is_reported(sshd: Sshd, prepared: Prepared) -> None:
    keys = sshd.folder / "authorized"
    before = keys.read_text()
    keys.write_text(f'command="echo This account is not available; exit 1" {before}')
    try:
        told = r"board: expected an account that runs `sh` .*: This account is not available\n.*ssh"
        with pytest.raises(UsageError, match=told):
            prepared()
    finally:
        keys.write_text(before)


def test_the_command_that_removes_a_folder_can_be_typed(
    prepared: Prepared, small: Path, tmp_path: Path
) -> None:
    write_wheel(small, "two", code="raise ImportError('libgomp is not there')")
    folder = tmp_path / "a far; folder"
    with pytest.raises(UsageError, match="libgomp is not there") as raised:
        prepared(folder=str(folder), wheelhouse=small).prepare()
    hint = raised.value.hint or ""
    (typed,) = re.findall(r"\((ssh board .*)\)", hint)
    subprocess.run(["sh", "-c", typed], check=True, stdin=subprocess.DEVNULL)
    assert not [path for path in (folder / "env").iterdir() if (path / "bin").is_dir()]


def test_a_program_that_answers_nothing(sshd: Sshd, prepared: Prepared) -> None:
    program(sshd.home / "mute", 'case "$*" in *" look "*) echo [];; *) echo 3.12.1;; esac')
    with pytest.raises(UsageError, match="not a usable Python interpreter"):
        prepared(python="~/mute")


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
def test_a_disk_that_is_full_is_reported(
    prepared: Prepared, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paretune.targets.launchers.provision._NEEDED_BYTES", {"": 0.0})
    write_wheel(small, "two", code="x = '" + "y" * 5_000_000 + "'")
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        device = prepared(folder=str(tmp_path / "disk" / "far"), wheelhouse=small)
        with pytest.raises(UsageError, match=r"No space left(?s:.*)--folder DIR"):
            device.prepare()
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)
