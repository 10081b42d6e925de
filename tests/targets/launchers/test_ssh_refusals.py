"""What of a far side is refused, and how: hosts, interpreters, paths, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import UsageError
from paretune.core.job import Call, Job
from paretune.targets.launchers.ssh import SshTarget
from tests.targets.sshd import Sshd


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"python": "/nowhere/python"}, "there is no '/nowhere/python' on board"),
        ({"python": "/bin/echo"}, "is not a Python interpreter"),
        ({"python": "~/python"}, "there is no './python' on board(?s:.*)home folder there"),
        ({"python": "/"}, "'/' on board cannot be executed"),
        ({"python": "/bin/false"}, "'/bin/false' on board failed: exit status 1(?s:.*)`python:`"),
        ({"host": "board-stranger"}, "refuses this user's key"),
        ({"host": "board-unknown"}, "host key is unknown"),
        ({"host": "no-such-host.invalid"}, "does not find the host"),
        ({"store": "/proc/nowhere"}, "'/proc/nowhere' on board cannot be written: (?s:.*)`store:`"),
        ({"store": "/dev/null"}, "'/dev/null' on board cannot be written: File exists"),
        ({"store": "/dev/null/x"}, "'/dev/null/x' on board cannot be written: Not a directory"),
        ({"store": "~nobody-here/x"}, "~nobody-here/x' on board .*: there is no such user"),
    ],
)
def test_refusals_are_readable(
    opened: Callable[..., SshTarget], options: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        opened(**options).info()


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("before", ["~/", "", "{home}/"])
def test_paths_of_the_far_side_may_have_spaces_and_any_letters(
    sshd: Sshd, opened: Callable[..., SshTarget], before: str
) -> None:
    program(sshd.home / "Übung 1" / "my python", f'exec "{sys.executable}" "$@"')
    before = before.format(home=sshd.home)
    target = opened(python=f"{before}Übung 1/my python", store=f"{before}$HOME störe/'x")
    installed = target.submit(Job(Call("os:getenv", {"key": "PYTHONPATH"}))).result(300).value
    assert Path(installed).parent == sshd.home / "$HOME störe" / "'x" / "paretune"
    assert Path(installed, "paretune").is_dir()


def test_an_interpreter_that_is_too_old(sshd: Sshd, opened: Callable[..., SshTarget]) -> None:
    said = json.dumps({"python": [3, 9, 2], "store": "/x", "there": False, "reason": None})
    program(sshd.home / "old", f"echo '{said}'")
    with pytest.raises(UsageError, match=r"'./old' on board is Python 3.9.2; paretune needs 3.11"):
        opened(python="~/old").info()


@pytest.mark.parametrize(
    "text",
    [
        "echo 3",
        "echo '[]'",
        "echo '{}'",
        """echo '{"python": [3, "x"], "store": "/x", "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": 5, "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": "/x\\u0000", "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": "/x", "there": "yes", "reason": null}'""",
        "head -c 100000 /dev/zero | tr '\\0' '['",
    ],
)
def test_an_interpreter_that_answers_something_else(
    sshd: Sshd, opened: Callable[..., SshTarget], text: str
) -> None:
    program(sshd.home / "other", text)
    with pytest.raises(UsageError, match=r"'./other' on board is not a Python interpreter"):
        opened(python="~/other").info()


def test_an_interpreter_that_writes_without_an_end(
    sshd: Sshd, opened: Callable[..., SshTarget]
) -> None:
    program(sshd.home / "endless", "exec cat /dev/zero")
    with pytest.raises(UsageError, match="'board' cannot be used: it writes without an end"):
        opened(python="~/endless").info()


def test_an_interpreter_without_the_packages_that_paretune_needs(
    opened: Callable[..., SshTarget], tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    told = r"'board' cannot be used: its Python interpreter lacks the module '\w+'\n.*pip install"
    with pytest.raises(UsageError, match=told):
        opened(python=str(python)).info()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("40k", "cannot be written: No space"),
        ("400k", "cannot be installed on board: .*: No space"),
    ],
)
def test_a_full_disk_is_reported_before_anything_runs(
    opened: Callable[..., SshTarget], tmp_path: Path, size: str, told: str
) -> None:
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        with pytest.raises(UsageError, match=f"{told}(?s:.*)`store:`"):
            opened(store=str(tmp_path / "disk" / "far")).info()
        assert not list((tmp_path / "disk").glob("far/paretune/*")), "a part stays behind"
        assert not list((tmp_path / "disk").glob("far/paretune/.*")), "a part stays behind"
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)
