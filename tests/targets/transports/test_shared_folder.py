"""Files through a folder that this machine and a host both have; the host is a process here."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_study import write_stub_model

from paretune.core.candidate import Step
from paretune.core.errors import ConnectionLostError, TransientError, UsageError
from paretune.core.job import Build, Job, JobStatus
from paretune.core.stamps import Stamped, take
from paretune.models.handle import open_model
from paretune.targets.launchers.installed import InstalledTarget
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.shared_folder import SharedFolder
from paretune.targets.transports.shared_place import SharedPlace
from tests.targets.far_sides import OneHost
from tests.targets.test_far_builds import interpreter
from tests.targets.two_stores import DATA

_ROOT = Path(__file__).resolve().parents[3]


class Place:
    """Two hosts, and the folder that they share.

    Attributes:
        shared: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.shared = folder, folder / "shared"
        self.shared.mkdir()
        self.hosts = [OneHost("one"), OneHost("other")]
        self.place = SharedPlace(self.shared)
        self.place.open()
        self.transports = [SharedFolder(host, self.place) for host in self.hosts]
        for host, transport in zip(self.hosts, self.transports, strict=True):
            transport.python = ("sh", "-c", f'cd {_ROOT} && exec "$0" "$@"', sys.executable, "-m")
            transport.store = str(folder / host.host)

    def store(self, name: str) -> FileStore:
        return FileStore(self.folder / name)

    def files(self, **contents: bytes) -> list[Stamped]:
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)
        return [take(self.folder / name) for name in contents]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for transport in made.transports:
        transport.close()
    made.place.close()


def test_files_go_through_the_folder_there_and_back(place: Place) -> None:
    sent = place.files(a=b"one", b=os.urandom(3 << 20))
    sizes = {file.sha256: file.stamp.size for file in sent}
    for transport in place.transports:
        transport.send(sent)
    assert [transport.bytes for transport in place.transports] == [sum(sizes.values()), 0]
    back = place.store("back")
    place.transports[1].fetch(sizes, back)
    assert (back.missing(sizes), place.transports[1].fetched) == ((), 2)
    for transport in place.transports:
        transport.close()
    place.place.close()
    assert not list(place.shared.iterdir())


def test_a_damaged_file_in_the_folder_is_copied_again(place: Place) -> None:
    sent = place.files(a=b"one", b=b"two")
    place.transports[0].send(sent)
    path = place.place.path / "files" / sent[0].sha256
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"0ne")  # as a disk would damage it: its time says that it was verified
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    place.transports[1].send(sent)
    assert place.store("other").missing(file.sha256 for file in sent) == ()
    assert path.read_bytes() == b"one"
    assert place.transports[1].bytes == 3, "the other file is not copied again"


def test_what_others_remove_is_copied_again(place: Place) -> None:
    sent = place.files(a=b"one")
    place.transports[0].send(sent)
    ends: list[Callable[[], None]] = [(place.place.path / "files" / sent[0].sha256).unlink]
    place.hosts[1].first = lambda: ends.pop()() if ends else None
    place.transports[1].send(sent)
    assert place.store("other").missing([sent[0].sha256]) == ()
    assert place.transports[1].bytes == 3


def test_two_hosts_send_back_the_same_artifact_at_the_same_time(place: Place) -> None:
    [made] = place.files(a=b"one")
    for name in ("one", "other"):
        place.store(name).copy(made.path, made.sha256)
    # What the first one sent is taken and removed after the second one has sent the same.
    other, back = place.transports[1], place.store("back-1")
    place.hosts[0].then = lambda: other.fetch({made.sha256: 3}, back)
    place.transports[0].fetch({made.sha256: 3}, place.store("back-0"))
    assert [place.store(f"back-{n}").missing([made.sha256]) for n in range(2)] == [(), ()]


def test_a_host_leaves_alone_what_another_machine_is_writing(place: Place) -> None:
    sent = place.files(a=b"one")
    place.transports[0].send(sent)
    own = place.place.path
    unlocked = own / "staging" / ("0" * 32)  # locks of that machine are not seen here
    unlocked.mkdir()
    (own / "locks" / f"{unlocked.name}.stage").touch()
    python = (*place.transports[0].python, "paretune.targets.transports.shared_folder")
    for way in ("take", "put"):
        place.hosts[0].run(
            *(*python, way, str(place.folder / "one"), str(own), "from-one"),
            given=sent[0].sha256.encode(),
        )
    assert unlocked.is_dir()


def test_a_folder_that_is_gone(place: Place) -> None:
    sent = place.files(a=b"one")
    shutil.move(place.shared, place.folder / "aside")
    with pytest.raises(TransientError, match=r"there is no folder .*shared on this machine"):
        place.transports[0].send(sent)
    assert not place.shared.exists()
    with pytest.raises(TransientError, match=r"there is no folder .*shared on this host"):
        place.transports[0].fetch({sent[0].sha256: 3}, place.store("back"))


def test_the_check_leaves_nothing(place: Place) -> None:
    for transport in place.transports:
        transport.check()
    assert [path.name for path in place.shared.rglob("*") if path.is_file()] == ["owner"]


def elsewhere(place: Place, name: str) -> Path:
    """Have the first host see another folder in the place of the shared one."""
    other = place.folder / name
    place.hosts[0].seen = lambda word: word.replace(str(place.shared), str(other))
    return other


def test_a_host_that_sees_another_folder_is_refused(place: Place) -> None:
    other = elsewhere(place, "other-disk")
    with pytest.raises(UsageError, match=r"there is no folder .*other-disk on this host") as none:
        place.transports[0].check()
    assert "`shared:`" in (none.value.hint or "")
    assert str(place.shared) in none.value.message
    other.mkdir()
    with pytest.raises(UsageError, match="other-disk on this host is another folder"):
        place.transports[0].check()
    assert not list(other.iterdir())
    place.transports[1].check()


def test_a_host_that_cannot_write_there_is_refused(place: Place) -> None:
    (place.place.path / place.transports[0]._from).touch()
    with pytest.raises(UsageError, match=r"one: .* on this host: (File exists|Not a directory)"):
        place.transports[0].check()


def test_a_target_that_cannot_use_the_folder_is_refused_before_it_has_a_job(place: Place) -> None:
    elsewhere(place, "other-disk")
    store = str(place.folder / "far")
    options: dict[str, Any] = {"python": sys.executable, "store": store}
    words = "'board' cannot be used: one: files do not travel through"
    with (
        InstalledTarget("board", place.hosts[0], place.transports[0], **options) as target,
        pytest.raises(UsageError, match=words),
    ):
        target.info()


def test_a_folder_that_goes_away_is_not_the_fault_of_a_build(place: Place, tmp_path: Path) -> None:
    """The connection ends; the next one is refused until the folder is there again."""
    journal, aside = tmp_path / "journal", tmp_path / "aside"
    step = Step("meet", {"x": 1, "journal": str(journal)})
    model = open_model(write_stub_model(tmp_path / "model"))
    near = tmp_path / "near"
    job = Job(Build(model=model, recipe=(step,), provider="cpu", store=near, data=DATA))
    options: dict[str, Any] = {"store": str(tmp_path / "far")}
    options["python"] = str(interpreter(tmp_path / "python"))
    with InstalledTarget("board", place.hosts[0], place.transports[0], **options) as target:
        future = target.submit(job)
        begun = Path(f"{journal}.begun")
        wait_until((begun / "1").exists)
        place.shared.rename(aside)
        (begun / "7").touch()
        result = future.result(120.0)
        assert (result.status, result.transient) == (JobStatus.FAILED, True)
        lost = target.submit(job).result(120.0).lost
        assert lost is not None
        assert not isinstance(lost, ConnectionLostError)
        assert "this machine: files do not travel through" in lost.message
        assert not place.shared.exists()
        aside.rename(place.shared)
        again = target.submit(job).result(120.0)
        assert again.status is JobStatus.OK, again.reason
        assert journal.read_text().count("build-1") == 1, "it was not built again there"


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 120.0
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)
