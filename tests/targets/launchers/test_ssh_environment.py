"""The environment of a worker over ssh: that of the account there, and what paretune sets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path

import pytest

from paretune.core.job import Call, Job
from paretune.targets.launchers.ssh import SshTarget
from paretune.targets.transports.ssh import SshHost
from tests.targets.sshd import Sshd, start

PAGE = Path(__file__).resolve().parents[3] / "docs" / "targets.md"
PRINTS = f"{sys.executable} -c 'import os; print(chr(10).join(os.environ))'"
OF_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"}


@pytest.fixture
def generous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """An sshd that takes every variable, of a user whose configuration sends every one."""
    made = start(tmp_path / "sshd")
    made.stop()
    for name, line in (("sshd_config", "AcceptEnv *\n"), ("ssh_config", "Host *\n  SendEnv *\n")):
        file = made.folder / name
        file.write_text(file.read_text() + line)
    made.start_again()
    monkeypatch.setenv("PATH", f"{made.client}:{os.environ['PATH']}")
    yield made
    made.stop()


def documented() -> set[str]:
    """Return the variables that the page lists."""
    _, _, after = PAGE.read_text(encoding="utf-8").partition("**The environment of a job.**")
    table = takewhile(
        lambda line: line.startswith("|"),
        dropwhile(lambda line: not line.startswith("|"), after.splitlines()),
    )
    return {
        name.strip("` ")
        for row in table
        if row.startswith("| `")
        for name in row.split("|")[1].split(",")
    }


def test_no_variable_of_this_machine_reaches_a_worker_and_the_page_lists_what_is_set(
    generous: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.setenv("LC_MESSAGES", "C.UTF-8")
    sent = subprocess.run(
        ["ssh", "board", "env"], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert "HF_TOKEN=hf_secret" in sent, "this user's own ssh sends it"
    host = SshHost("board")
    try:
        account = {line.partition("=")[0] for line in host.run("env").decode().splitlines()}
        command = host.command("true")
    finally:
        host.close()
    assert not account & {"HF_TOKEN", "SOME_TOKEN"}
    assert "LC_MESSAGES" in account
    with SshTarget(name="board", host="board", python=sys.executable) as target:
        call = Job(Call("subprocess:getoutput", {"cmd": PRINTS}))
        found = set(target.submit(call).result(300).value.splitlines())
    assert found - account - OF_THE_SHELL == documented()
    assert not any("secret" in word for word in command)


def test_nothing_is_in_front_of_ssh_if_the_configuration_sends_nothing(sshd: Sshd) -> None:
    host = SshHost("board")
    try:
        assert host.command("true")[0] == "ssh"
    finally:
        host.close()
