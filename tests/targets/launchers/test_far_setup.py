"""The program that prepares a device, run as it runs there: with Python alone, through pipes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from local_jobs import wait_for
from small_wheels import copy_pip, write_wheel

from paretune.targets.launchers import far_setup
from paretune.targets.launchers.far_setup import FailedError, look, missing, take

PROGRAM = Path(far_setup.__file__).read_text()


def run(*arguments: str, given: Any = None, held: bool = True) -> list[dict[str, Any]]:
    """Run it with an interpreter that has nothing of ours; returns its messages."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{json.dumps(given)}\n".encode())
    process.stdin.flush()
    if not held:
        process.stdin.close()
    found = [json.loads(line) for line in process.stdout if line.strip()]
    process.stdin.close()
    process.wait()
    process.stdout.close()
    return found


def request(place: Path, *names: str, wheels: Path | None, uv: str | None = None) -> dict[str, Any]:
    house = None if wheels is None else str(wheels)
    modules = {name: re.split(r"\W", name)[0] for name in names}
    return {"place": str(place), "uv": uv, "requirements": modules, "wheels": house}


def listed(content: dict[str, bytes]) -> list[list[Any]]:
    return [[n, len(each), hashlib.sha256(each).hexdigest()] for n, each in content.items()]


def test_it_says_what_this_machine_is_and_makes_nothing(tmp_path: Path) -> None:
    (found,) = run("look", str(tmp_path / "a" / "b"))
    assert found["python"] == list(sys.version_info[:3])
    assert found["bits"] == 64
    assert (found["store"], found["reason"]) == (str(tmp_path / "a" / "b"), None)
    assert found["free"] > 0
    assert found["venv"]
    assert found["environments"] == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("~nobody-here/x", "no such user"),
        ("/dev/null/x", "Not a directory"),
        ("/proc/nowhere/x", "No such|denied"),
        ("/a:b", "has a"),
    ],
)
def test_a_folder_that_cannot_be_written_says_why(store: str, told: str) -> None:
    reason = look(store)["reason"]
    assert any(each in reason for each in told.split("|"))


def test_uv_is_found_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(far_setup, "_UV_PLACES", far_setup._UV_PLACES[:2])
    assert look("")["uv"] is None
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    (tmp_path / ".local" / "bin" / "uv").touch(0o755)
    assert look("")["uv"] == str(tmp_path / ".local" / "bin" / "uv")


def test_whole_files_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    content = {"a.whl": b"a" * 3_000_000, "b.whl": b"", "c.whl": b"c"}
    files = listed(content)
    broken = io.BytesIO(b"".join(content.values())[:-1])
    with pytest.raises(FailedError, match=r"c\.whl: 1 of 1 bytes did not arrive"):
        take(str(tmp_path), files, broken)
    assert missing(str(tmp_path), files) == ["c.whl"]
    with pytest.raises(FailedError, match=r"c\.whl arrived damaged"):
        take(str(tmp_path), files[2:], io.BytesIO(b"x"))
    assert take(str(tmp_path), files[2:], io.BytesIO(b"c")) == 1
    assert missing(str(tmp_path), files) == []
    (tmp_path / "a.whl").write_bytes(b"b" * 3_000_000)
    assert missing(str(tmp_path), files) == ["a.whl"]


def test_an_environment_is_made_from_wheels_once(tmp_path: Path) -> None:
    wheels, place = tmp_path / "place.wheels", tmp_path / "place"
    write_wheel(wheels, "one", ["two"])
    write_wheel(wheels, "two")
    copy_pip(wheels)
    made = run("make", given=request(place, "one==1.0", wheels=wheels))
    assert made[-1] == {"packages": {"one": "1.0"}}, made
    steps = [message["step"] for message in made if "step" in message]
    assert steps == ["making the environment", "installing packages", "importing them"]
    assert not wheels.exists(), "they take up space, and are in the environment"
    python = place / "bin" / "python"
    done = subprocess.run([python, "-c", "import one, two"], check=False)
    assert done.returncode == 0
    assert run("make", given=request(place, "one==1.0", wheels=wheels)) == [made[-1]]
    assert look(str(tmp_path))["environments"] == []  # those are in the folder env


def test_an_installation_that_failed_is_continued(tmp_path: Path) -> None:
    wheels, place = tmp_path / "place.wheels", tmp_path / "place"
    write_wheel(wheels, "one", ["two"])
    copy_pip(wheels)
    failed = run("make", given=request(place, "one", wheels=wheels))[-1]
    assert "two" in failed["failed"]
    assert not (place / far_setup.WHOLE).exists()
    write_wheel(wheels, "two")
    again = run("make", given=request(place, "one", wheels=wheels))
    assert again[-1] == {"packages": {"one": "1.0"}}
    assert "making the environment" not in [message.get("step") for message in again]


def test_an_environment_without_pip_that_needs_it_is_made_again(tmp_path: Path) -> None:
    wheels, place = tmp_path / "place.wheels", tmp_path / "place"
    write_wheel(wheels, "one", ["two"])
    copy_pip(wheels)
    assert "failed" in run("make", given=request(place, "one", wheels=wheels))[-1]
    for wheel in wheels.glob("pip-*"):
        wheel.unlink()
    write_wheel(wheels, "two")
    again = run("make", given=request(place, "one", wheels=wheels))
    assert again[-1] == {"packages": {"one": "1.0"}}, again


def test_a_range_of_versions_is_imported_by_its_name(tmp_path: Path) -> None:
    wheels, place = tmp_path / "place.wheels", tmp_path / "place"
    write_wheel(wheels, "one")
    copy_pip(wheels)
    made = run("make", given=request(place, "one<2,>=1", wheels=wheels))
    assert made[-1] == {"packages": {"one": "1.0"}}, made
    wheels.mkdir()  # another command copied them meanwhile
    assert run("make", given=request(place, "one<2,>=1", wheels=wheels)) == [made[-1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place", "place.lock"]


def test_what_uv_and_pip_keep_meanwhile_is_in_the_folder(tmp_path: Path) -> None:
    uv, place = tmp_path / "uv", tmp_path / "place"
    uv.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\nexit 1\n")
    uv.chmod(0o755)
    run("make", given=request(place, "one", wheels=None, uv=str(uv)))
    lines = (tmp_path / "env").read_text().splitlines()
    for name in ("PIP_CACHE_DIR", "UV_CACHE_DIR", "TMPDIR"):
        assert f"{name}={place}.cache" in lines
    assert "ORT_DISABLE_TELEMETRY=1" in lines


def test_files_are_not_taken_while_another_command_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_setup, "_LOCK_WITHIN_S", 0.0)
    files = listed({"a.whl": b"a"})
    with open(tmp_path / "place.lock", "a+") as lock:
        far_setup._hold(lock)
        with pytest.raises(FailedError, match=f"another installation .* {os.getpid()}"):
            take(str(tmp_path / "place.wheels"), files, io.BytesIO(b"a"))
    assert take(str(tmp_path / "place.wheels"), files, io.BytesIO(b"a")) == 1


def test_packages_that_cannot_be_imported_are_no_environment(tmp_path: Path) -> None:
    wheels, place = tmp_path / "place.wheels", tmp_path / "place"
    write_wheel(wheels, "one", code="raise ImportError('libgomp.so.1 is not there')")
    copy_pip(wheels)
    failed = run("make", given=request(place, "one", wheels=wheels))[-1]
    assert "libgomp.so.1 is not there" in failed["failed"]
    assert not (place / far_setup.WHOLE).exists()


def fake_uv(folder: Path) -> Path:
    """A program that never ends; it says that it has started."""
    uv = folder / "uv"
    uv.write_text(
        f"#!/bin/sh\necho $$ > {folder}/part; mv {folder}/part {folder}/started\nsleep 600\n"
    )
    uv.chmod(0o755)
    return uv


def begun(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start an installation that does not end; returns it, and the process that it has started."""
    asked = request(folder / "place", "one", wheels=None, uv=str(fake_uv(folder)))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "make"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(f"{json.dumps(asked)}\n".encode())
    process.stdin.flush()
    return process, int(wait_for(folder / "started"))


def test_what_it_started_ends_with_the_connection(tmp_path: Path) -> None:
    process, pid = begun(tmp_path)
    (again,) = (
        message
        for message in _with_short_lock(request(tmp_path / "place", "one", wheels=None))
        if "failed" in message
    )
    assert again["failed"] == f"another installation into it is running (process {process.pid})"
    process.communicate()  # closes its standard input
    assert process.returncode != 0
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _with_short_lock(asked: dict[str, Any]) -> list[dict[str, Any]]:
    program = PROGRAM.replace("_LOCK_WITHIN_S = 10.0", "_LOCK_WITHIN_S = 0.0")
    done = subprocess.run(
        [sys.executable, "-c", program, "make"],
        input=f"{json.dumps(asked)}\n".encode(),
        capture_output=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def test_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    process, left = begun(tmp_path)
    process.kill()
    process.communicate()
    os.killpg(left, signal.SIGKILL)
    wheels = tmp_path / "place.wheels"
    write_wheel(wheels, "one")
    copy_pip(wheels)
    made = run("make", given=request(tmp_path / "place", "one", wheels=wheels))
    assert made[-1] == {"packages": {"one": "1.0"}}
