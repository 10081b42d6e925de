"""Faults of a connection over ssh."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from faulting.world import WITHIN_S, Came, Case, Expected, World, interrupted, tried_again

from paretune.core.job import JobResult
from tests.targets.sshd import required

_LOST = Expected("crashed, transient, at once; the next job connects again", words="was lost")
_SILENT = Expected(
    "crashed, transient, after 60 s (ServerAliveInterval); the next job connects again",
    within_s=100.0,
    words="was lost",
)
_AWAY = Expected(
    "crashed, transient, at once; then TargetLostError: the same command continues",
    again="TargetLostError",
    words="cannot be reached",
)
_REFUSED = Expected(
    "crashed, transient, at once; then TargetRefusesError, without waiting",
    again="TargetRefusesError",
)
_WIDTH = 1_600_000
_MODEL_MB = (_WIDTH + 64) * 16 * 4 / 1e6


def lost(world: World) -> Came:
    """Kill the processes that serve the connection there."""
    return interrupted(world, world.open(), lambda _: world.sshd.cut(), _LOST)


def client_killed(world: World) -> Came:
    """Kill the ssh clients here."""

    def strike(worker: psutil.Process) -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.name() == "ssh":
                    process.kill()

    return interrupted(world, world.open(), strike, _LOST)


def silent(world: World) -> Came:
    """Stop the processes that serve the connection: nothing comes, and nothing is closed."""
    held: list[psutil.Process] = []

    def strike(worker: psutil.Process) -> None:
        held.extend(world.sshd.connections())
        for process in [*held, *(c for h in held for c in h.children())]:
            if "sshd" in process.name():
                process.send_signal(signal.SIGSTOP)

    def go_on() -> None:
        for process in held:
            with suppress(psutil.Error):
                for each in [process, *process.children(recursive=True)]:
                    each.send_signal(signal.SIGCONT)

    return interrupted(world, world.open(), strike, _SILENT, before_again=go_on)


def gone(world: World) -> Came:
    """Stop the sshd for good."""
    return interrupted(world, world.open(), lambda _: world.sshd.stop(), _AWAY)


def another_host_key(world: World) -> Came:
    """Start the sshd again with another host key."""

    def strike(worker: psutil.Process) -> None:
        folder = world.sshd.folder
        world.sshd.stop()
        for name in ("host", "host.pub"):
            (folder / name).unlink()
        words = [
            required("ssh-keygen"),
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            str(folder / "host"),
        ]
        subprocess.run(words, check=True)
        shutil.rmtree(world.far)  # what comes there from now on was sent to the impostor
        world.sshd.start_again()

    came = interrupted(world, world.open(), strike, _REFUSED)
    return _nothing_sent(came, world.far)


def _nothing_sent(came: Came, far: Path) -> Came:
    return replace(came, ok=came.ok and not far.exists())


def refused(world: World) -> Came:
    """Take the user's key away, and cut the connection."""

    def strike(worker: psutil.Process) -> None:
        (world.sshd.folder / "authorized").write_text("")
        world.sshd.cut()

    return interrupted(world, world.open(), strike, _REFUSED)


def lost_in_transfer(world: World) -> Came:
    """Cut the connection while a model is on its way."""
    target = world.open()
    target.info()
    job = world.measure(0.2, width=_WIDTH)
    future = target.submit(job)
    end = time.monotonic() + WITHIN_S
    while _arrived(world.far) < 1e5 and time.monotonic() < end:
        time.sleep(0.001)
    begin = time.monotonic()
    world.sshd.cut()
    result: JobResult = future.result(WITHIN_S)
    told_s = time.monotonic() - begin
    kept = _arrived(world.far) / 1e6
    again, said = tried_again(world, target)
    words = "; ".join(filter(None, (result.reason, said)))
    ok = result.transient and again == "ok" and told_s < 30
    what = f"{result.status}; the next job: {again}"
    left = f"{max(0.0, _MODEL_MB - kept):.1f} of {_MODEL_MB:.1f} MB are sent again"
    return Came(what, result.transient, told_s, left, words, ok)


def _arrived(far: Path) -> float:
    size = 0.0
    for folder in ("partial", "incoming", "staging"):
        for path in far.glob(f"{folder}/**/*"):
            with suppress(OSError):
                size += path.stat().st_size if path.is_file() else 0
    return size


def cases() -> list[Case]:
    """Return the faults of a connection."""
    faults: list[tuple[str, Expected | str, Any]] = [
        ("the connection is lost in mid-measurement", _LOST, lost),
        ("the ssh client is killed", _LOST, client_killed),
        ("the network is silent", _SILENT, silent),
        (
            "the connection is lost while a model travels",
            "transient; the next job sends what has not arrived",
            lost_in_transfer,
        ),
        ("the sshd is gone for good", _AWAY, gone),
        ("the host key is another one", _REFUSED, another_host_key),
        ("the user's key is refused", _REFUSED, refused),
    ]
    return [
        Case("ssh", fault, expected if isinstance(expected, str) else expected.text, run)
        for fault, expected, run in faults
    ]
