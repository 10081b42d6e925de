"""Files through a folder that this machine and a host both have; the host is a process here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paretune.core.errors import TransientError
from paretune.core.stamps import Stamped, take
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.shared_folder import SharedFolder
from tests.targets.far_sides import OneHost

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
        self.transports = [SharedFolder(host, self.shared) for host in self.hosts]
        for host, transport in zip(self.hosts, self.transports, strict=True):
            transport.python = ("sh", "-c", f'cd {_ROOT} && exec "$0" "$@"', sys.executable, "-m")
            transport.store = str(folder / host.host)

    def store(self, name: str) -> FileStore:
        return FileStore(self.folder / name)

    def files(self, **contents: bytes) -> list[Stamped]:
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)
        return [take(self.folder / name) for name in contents]

    def left(self) -> list[Path]:
        return [path for path in self.shared.rglob("*") if path.is_file()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for transport in made.transports:
        transport.close()


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
    assert not place.left()


def test_a_damaged_file_in_the_folder_is_copied_again(place: Place) -> None:
    sent = place.files(a=b"one", b=b"two")
    place.transports[0].send(sent)
    path = place.shared / "files" / sent[0].sha256
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"0ne")  # as a disk would damage it: its time says that it was verified
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    place.transports[1].send(sent)
    assert place.store("other").missing(file.sha256 for file in sent) == ()
    assert path.read_bytes() == b"one"
    assert place.transports[1].bytes == 3, "the other file is not copied again"


def test_what_another_search_removes_is_copied_again(place: Place) -> None:
    sent = place.files(a=b"one")
    place.transports[0].send(sent)
    ends = [place.transports[0].close]
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
    unlocked = place.shared / "staging" / ("0" * 32)  # locks of that machine are not seen here
    unlocked.mkdir()
    (place.shared / "locks" / f"{unlocked.name}.stage").touch()
    python = (*place.transports[0].python, "paretune.targets.transports.shared_folder")
    for way in ("take", "put"):
        place.hosts[0].run(
            *(*python, way, str(place.folder / "one"), str(place.shared), "from-one"),
            given=sent[0].sha256.encode(),
        )
    assert unlocked.is_dir()


def test_a_folder_that_is_not_there(place: Place) -> None:
    sent = place.files(a=b"one")
    place.transports[0]._folder = place.folder / "mounted" / "elsewhere"
    with pytest.raises(TransientError, match=r"there is no folder .*elsewhere on this machine"):
        place.transports[0].send(sent)
    assert not (place.folder / "mounted").exists()
    with pytest.raises(TransientError, match=r"there is no folder .*elsewhere on this host"):
        place.transports[0].fetch({sent[0].sha256: 3}, place.store("back"))
