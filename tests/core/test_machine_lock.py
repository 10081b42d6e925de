"""Processes that use one machine: a measurement is alone, and a dead process holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from paretune.core import machine_lock
from paretune.core.errors import UsageError
from paretune.core.machine_lock import GivenUpError, MachineLock, machine_folder, within_job

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

WITHIN_S = 120.0

HOLD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from paretune.core.machine_lock import MachineLock
with MachineLock(Path(sys.argv[1])).use(alone=sys.argv[2] == "alone") as waited:
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    forked = os.fork()
    if forked == 0:
        os.close(0)
        os.close(1)
        time.sleep(600)
    print(child.pid, forked, flush=True)
    sys.stdin.readline()
    for pid in (child.pid, forked):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


class Holder:
    """Another process that holds the machine, and has children: a program, and a copy of it."""

    def __init__(self, folder: Path, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.children = [int(word) for word in self.process.stdout.readline().split()]

    def leave(self) -> None:
        self.process.communicate("\n", timeout=WITHIN_S)

    def kill(self) -> None:
        """End the process alone: its children live on."""
        self.process.kill()
        self.process.communicate(timeout=WITHIN_S)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Callable[[str], Holder]]:
    made: list[Holder] = []

    def start(how: str) -> Holder:
        made.append(Holder(tmp_path / "machine", how))
        return made[-1]

    yield start
    for holder in made:
        if holder.process.poll() is None:
            holder.kill()
        for child in holder.children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


class Use:
    """A use of the machine in a thread of this process."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self.begun, self._leave, self.why = threading.Event(), threading.Event(), list[str]()
        self.told = threading.Event()
        self.waited = -1.0

        def tell(why: str) -> None:
            self.why.append(why)
            self.told.set()

        def run() -> None:
            with MachineLock(folder).use(alone=alone, waits=tell) as self.waited:
                self.begun.set()
                assert self._leave.wait(WITHIN_S)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("other", ["alone", "beside"])
def test_a_measurement_waits_for_what_another_process_does(
    tmp_path: Path, holding: Callable[[str], Holder], other: str
) -> None:
    holder = holding(other)
    use = Use(tmp_path / "machine", alone=True)
    assert use.told.wait(WITHIN_S)
    assert not use.begun.is_set()
    measures = f"process {holder.process.pid} measures on it"
    assert (measures in use.why[0]) == (other == "alone")
    holder.leave()
    assert use.begun.wait(WITHIN_S)
    assert use.waited > 0
    use.leave()


def test_builds_of_two_processes_run_beside_each_other_and_wait_for_a_measurement(
    tmp_path: Path, holding: Callable[[str], Holder]
) -> None:
    build = holding("beside")
    second = Use(tmp_path / "machine", alone=False)
    assert second.begun.wait(WITHIN_S)
    assert second.waited == 0.0
    second.leave()
    build.leave()
    measures = holding("alone")
    third = Use(tmp_path / "machine", alone=False)
    assert third.told.wait(WITHIN_S)
    assert not third.begun.is_set()
    measures.leave()
    assert third.begun.wait(WITHIN_S)
    third.leave()


@pytest.mark.parametrize("how", ["alone", "beside"])
def test_a_dead_process_holds_nothing_though_its_children_live(
    tmp_path: Path, holding: Callable[[str], Holder], how: str
) -> None:
    holder = holding(how)
    holder.kill()
    assert len(holder.children) == 2
    for child in holder.children:
        os.kill(child, 0)  # it lives
    with MachineLock(tmp_path / "machine").use(alone=True) as waited:
        assert waited == 0.0


def test_who_waits_is_told_that_the_measuring_process_is_stopped(
    tmp_path: Path, holding: Callable[[str], Holder]
) -> None:
    holder = holding("alone")
    os.kill(holder.process.pid, signal.SIGSTOP)
    use = Use(tmp_path / "machine", alone=False)
    assert use.told.wait(WITHIN_S)
    assert f"is stopped: continue it (kill -CONT {holder.process.pid}) or end it" in use.why[0]
    holder.kill()
    assert use.begun.wait(WITHIN_S)
    use.leave()


def test_what_runs_within_a_job_does_not_wait_for_it(
    tmp_path: Path, holding: Callable[[str], Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    holding("alone")
    monkeypatch.setenv("PARETUNE_WITHIN_JOB", "")  # it is as it was after the test
    within_job()
    with MachineLock(tmp_path / "machine").use(alone=True) as waited:
        assert waited == 0.0


def test_a_measurement_that_waits_goes_before_a_build_that_comes_later(
    tmp_path: Path, holding: Callable[[str], Holder]
) -> None:
    first = holding("beside")
    measure = Use(tmp_path / "machine", alone=True)
    assert measure.told.wait(WITHIN_S), "it has its turn by now"
    build = Use(tmp_path / "machine", alone=False)
    assert build.told.wait(WITHIN_S), "it could run beside the first one"
    first.leave()
    assert measure.begun.wait(WITHIN_S)
    assert not build.begun.is_set()
    measure.leave()
    assert build.begun.wait(WITHIN_S)
    build.leave()


def test_what_is_not_wanted_any_more_ends_its_wait(
    tmp_path: Path, holding: Callable[[str], Holder]
) -> None:
    holding("alone")
    with (
        pytest.raises(GivenUpError),
        MachineLock(tmp_path / "machine").use(alone=False, given_up=lambda: True),
    ):
        pytest.fail("it was held")


def test_a_lock_that_was_removed_excludes_nobody_and_a_new_one_is_made(tmp_path: Path) -> None:
    with MachineLock(tmp_path).use(alone=True):
        for file in tmp_path.iterdir():
            file.unlink()
    with MachineLock(tmp_path).use(alone=True) as waited:
        assert waited == 0.0
        assert (tmp_path / "use").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / "use").read_text() == ""


def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(machine_lock.FOLDER, str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be held for measurements: .*file") as caught:
        MachineLock().check()
    assert machine_lock.FOLDER in str(caught.value.hint)


def test_the_default_is_refused_where_another_file_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made a link there would choose what is written to."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.delenv(machine_lock.FOLDER)
    monkeypatch.setattr(machine_lock, "machine_folder", lambda: tmp_path / "link")
    with pytest.raises(UsageError, match=r"link: it is not a folder of this user") as caught:
        MachineLock().check()
    assert machine_lock.FOLDER in str(caught.value.hint)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_default_is_a_folder_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(machine_lock.FOLDER)
    assert machine_folder() == Path(f"/tmp/paretune-{os.getuid()}")
