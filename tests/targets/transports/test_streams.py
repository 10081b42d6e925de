"""Streams of files that somebody else wrote: regular files by digest, and nothing else."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import TransientError, UsageError
from paretune.targets.transports import streams
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.streams import entries

CONTENT = b"secret"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def archive(*members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive of members, each of which holds `CONTENT` if it has that size."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=format) as made:
        for member in members:
            made.addfile(member, io.BytesIO(CONTENT) if member.size else None)
    return out.getvalue()


def member(name: str = DIGEST, size: int = len(CONTENT), **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def linked(kind: bytes, to: str) -> tarfile.TarInfo:
    return member(size=0, type=kind, linkname=to)


@pytest.mark.parametrize(
    "bad",
    [
        linked(tarfile.SYMTYPE, "/etc/passwd"),
        linked(tarfile.SYMTYPE, "nowhere"),
        linked(tarfile.LNKTYPE, "/etc/passwd"),
        linked(tarfile.LNKTYPE, DIGEST),
        member(size=0, type=tarfile.DIRTYPE),
        member(size=0, type=tarfile.FIFOTYPE),
        member(size=0, type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member(size=0, type=tarfile.BLKTYPE),
        member(type=tarfile.GNUTYPE_SPARSE),
        member(type=tarfile.CONTTYPE),
        member(pax_headers={"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"}),
        member(pax_headers={"path": "../x"}),
        member(pax_headers={"comment": "x" * 100_000}),
        member(pax_headers={"size": "x"}),
        member(pax_headers={"size": "-5"}),
        member(name="x" * 120),
    ],
    ids=lambda bad: f"{bad.type!r} {bad.linkname} {list(bad.pax_headers)}",
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    (tmp_path / "outside").write_bytes(CONTENT)
    store = FileStore(tmp_path / "far")
    with pytest.raises(UsageError, match=r"the stream|SHA-256"):
        store.receive(io.BytesIO(archive(member(), bad)))
    assert [path.name for path in (tmp_path / "far" / "files").iterdir()] == [DIGEST]
    assert store.path(DIGEST).read_bytes() == CONTENT, "the file before it was taken over"
    assert not store.path(DIGEST).is_symlink()
    assert not any((tmp_path / "far" / "staging").iterdir())


@pytest.mark.parametrize("name", [f"../{DIGEST}", f"/{DIGEST}", f"a/{DIGEST}", DIGEST.upper(), "x"])
def test_a_name_that_is_no_digest_is_refused(tmp_path: Path, name: str) -> None:
    store = FileStore(tmp_path / "far")
    with pytest.raises(UsageError, match="not a SHA-256"):
        store.receive(io.BytesIO(archive(member(name))))
    assert not any((tmp_path / "far" / "files").iterdir())


def test_a_size_of_more_than_8_gib_is_read_from_its_extended_header() -> None:
    size = 9 << 30
    header = member(size=size).tobuf(tarfile.PAX_FORMAT)
    stream = io.BytesIO(header + b"begin")
    entry = next(entries(stream))
    assert (entry.name, entry.size) == (DIGEST, size)
    with pytest.raises(TransientError, match="broke off"):
        list(entry.pieces())


def test_what_nobody_reads_is_passed_over() -> None:
    whole = archive(member(), member("x"))
    assert [entry.name for entry in entries(io.BytesIO(whole))] == [DIGEST, "x"]


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[:514],
        lambda whole: whole[:512] + CONTENT,
        lambda whole: whole[:1024],
        lambda whole: b"x" * 512 + whole,
    ],
)
def test_a_stream_that_breaks_off(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(TransientError, match="broke off"):
        FileStore(tmp_path / "far").receive(io.BytesIO(change(archive(member()))))


@pytest.mark.parametrize("rest", [b"x", bytes(100_000), bytes(5000) + b"x"])
def test_nothing_may_follow_the_last_file(tmp_path: Path, rest: bytes) -> None:
    with pytest.raises(UsageError, match="goes on after its last file"):
        FileStore(tmp_path / "far").receive(io.BytesIO(archive(member()) + rest))


def test_extended_headers_do_not_fill_the_memory() -> None:
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.XHDTYPE, streams._MOST_EXTENDED + 1
    with pytest.raises(UsageError, match="an extended header in the stream has"):
        list(entries(io.BytesIO(huge.tobuf(tarfile.USTAR_FORMAT))))
