"""Files over a real ssh, both ways: continued where they broke off, compressed where it pays."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from paretune.core.errors import TransientError
from paretune.core.stamps import Stamped, take
from paretune.targets.transports import host_files
from paretune.targets.transports.bounded import kill_session
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.host_files import HostTransport
from paretune.targets.transports.packing import Packed, Writes
from paretune.targets.transports.ssh import SshHost
from tests.targets.sshd import Sshd

_ROOT = Path(__file__).resolve().parents[3]
_LARGE = 6 << 20


@pytest.fixture
def transport(sshd: Sshd, tmp_path: Path) -> Iterator[HostTransport]:
    """A transport to the store ``far`` of this test."""
    host = SshHost("board")
    made = HostTransport(host)
    python = ("sh", "-c", f'cd {_ROOT} && exec "$0" "$@"', sys.executable, "-m")
    made.receive = (*python, "paretune.targets.transports.receive", str(tmp_path / "far"))
    made.give = (*python, "paretune.targets.transports.give", str(tmp_path / "far"))
    yield made
    made.close()
    host.close()


def files(folder: Path, **contents: bytes) -> list[Stamped]:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [take(folder / name) for name in contents]


def sizes(of: Sequence[Stamped]) -> dict[str, int]:
    return {file.sha256: file.stamp.size for file in of}


def test_files_go_there_and_back(transport: HostTransport, tmp_path: Path) -> None:
    sent = files(tmp_path / "near", a=b"one", b=b"", c=os.urandom(_LARGE))
    transport.send(sent)
    assert FileStore(tmp_path / "far").missing(sizes(sent)) == ()
    back = FileStore(tmp_path / "back")
    for _ in range(2):
        transport.fetch(sizes(sent), back)
        assert transport.fetched == 3
    assert back.missing(sizes(sent)) == ()
    for file in sent:
        assert back.path(file.sha256).read_bytes() == file.path.read_bytes()


def test_what_is_not_there_cannot_be_fetched(transport: HostTransport, tmp_path: Path) -> None:
    back = FileStore(tmp_path / "back")
    with pytest.raises(TransientError, match="fetched from board: a file is not there any more"):
        transport.fetch({"0" * 64: 5}, back)
    transport.give = ("sh", "-c", "echo no space >&2; exit 3")
    with pytest.raises(TransientError, match="fetched from board: no space"):
        transport.fetch({"0" * 64: 5}, back)
    transport.give = ("true",)
    with pytest.raises(TransientError, match=r"fetched from board: .*broke off"):
        transport.fetch({"0" * 64: 5}, back)


def test_a_far_side_that_sends_nothing(
    transport: HostTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_files, "_STALLED_S", 0.2)
    transport.give = ("sleep", "900")
    with pytest.raises(TransientError, match="fetched from board: it sent nothing for 0 s"):
        transport.fetch({"0" * 64: 5}, FileStore(tmp_path / "back"))


class Cut:
    """A stream whose connection is cut after some bytes."""

    def __init__(self, stream: Writes, transport: HostTransport, after: int) -> None:
        self._stream, self._transport, self._left = stream, transport, after

    def write(self, data: bytes, /) -> int:
        self._left -= len(data)
        written = self._stream.write(data)
        if self._left < 0:
            assert self._transport._sending is not None
            kill_session(self._transport._sending)
        return written


def test_a_file_that_broke_off_on_its_way_is_continued(
    transport: HostTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = files(tmp_path / "near", a=os.urandom(3 * _LARGE))
    write = host_files.write_files

    def cut(sent: Sequence[Stamped], stream: Packed, begun: Mapping[str, int]) -> int:
        return write(sent, Cut(stream, transport, 2 * _LARGE), begun)

    monkeypatch.setattr(host_files, "write_files", cut)
    with pytest.raises(TransientError):
        transport.send([file])
    far = FileStore(tmp_path / "far")
    end = 300
    while not far.begun() and end:  # the far side notices it by itself
        end -= 1
        host_files.time.sleep(0.1)
    begun = far.begun()[file.sha256]
    assert 0 < begun < file.stamp.size
    monkeypatch.setattr(host_files, "write_files", write)
    transport.send([file])
    assert transport.bytes == file.stamp.size - begun
    assert far.missing([file.sha256]) == ()


def test_a_file_that_broke_off_on_its_way_back_is_continued(
    transport: HostTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = files(tmp_path / "near", a=os.urandom(3 * _LARGE))
    transport.send([file])
    back = FileStore(tmp_path / "back")
    give = transport.give
    transport.give = ("sh", "-c", f'"$@" | head -c {2 * _LARGE}', "sh", *give)
    with pytest.raises(TransientError, match="broke off"):
        transport.fetch(sizes([file]), back)
    begun = back.begun()[file.sha256]
    assert _LARGE < begun < file.stamp.size
    transport.give = give
    transport.fetch(sizes([file]), back)
    assert back.missing([file.sha256]) == ()
    assert back.begun() == {}


def test_a_slow_connection_is_compressed_for(
    transport: HostTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = files(tmp_path / "near", a=b"the same again and " * 400_000)
    wire: list[int] = []
    note = host_files.Rate.note

    def noting(rate: host_files.Rate, sent: int, seconds: float) -> None:
        wire.append(sent)
        note(rate, sent, seconds)

    monkeypatch.setattr(host_files.Rate, "note", noting)
    for rate, small in ((None, False), (1000.0, True), (1e12, False)):
        far, back = FileStore(tmp_path / "far"), FileStore(tmp_path / f"back {rate}")
        far.discard([file.sha256])
        transport.rate.bytes_per_s = rate
        transport.send([file])
        transport.rate.bytes_per_s = rate
        transport.fetch(sizes([file]), back)
        assert back.missing([file.sha256]) == ()
        assert [sent < file.stamp.size / 10 for sent in wire[-2:]] == [small, small]
