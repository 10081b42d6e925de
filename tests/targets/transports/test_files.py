"""Files by digest: what arrives is what was sent, once, whatever happens on the way."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import IO, cast

import pytest

from paretune.core.errors import TransientError, UsageError
from paretune.core.stamps import Stamped, take
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.greeting import BEGIN, skip_greeting
from paretune.targets.transports.packing import Unpacked


def made(folder: Path, **contents: bytes) -> list[Stamped]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [take(folder / name) for name in contents]


def stream_of(files: list[Stamped]) -> io.BytesIO:
    stream = io.BytesIO()
    send(files, stream)
    stream.seek(0)
    return stream


def digests(files: list[Stamped]) -> list[str]:
    return [file.sha256 for file in files]


def test_what_is_missing_is_sent_and_then_there(tmp_path: Path) -> None:
    files = made(tmp_path / "near", a=b"one", b=b"", c=os.urandom(3 << 20))
    store = FileStore(tmp_path / "far")
    assert store.missing(digests(files)) == tuple(digests(files))
    assert store.receive(stream_of(files)) == 3
    assert store.missing(digests(files)) == ()
    for file in files:
        assert store.path(file.sha256).read_bytes() == file.path.read_bytes()
    assert not any((tmp_path / "far" / "staging").iterdir())


def test_the_count_of_sent_bytes_is_that_of_the_files(tmp_path: Path) -> None:
    files = made(tmp_path, a=b"12345", b=b"678")
    assert send(files, io.BytesIO()) == 8


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_after_a_broken_stream_only_the_rest_is_missing(tmp_path: Path, share: float) -> None:
    files = made(tmp_path / "near", **{f"f{i}": os.urandom(50_000) for i in range(8)})
    whole = stream_of(files).getvalue()
    store = FileStore(tmp_path / "far")
    with pytest.raises(TransientError, match="broke off"):
        store.receive(io.BytesIO(whole[: int(share * len(whole)) or 100]))
    missing = store.missing(digests(files))
    assert len(missing) == pytest.approx((1 - share) * 8, abs=1.5)
    rest = [file for file in files if file.sha256 in missing]
    assert store.receive(stream_of(rest)) == len(missing)
    assert store.missing(digests(files)) == ()


def test_a_file_with_another_content_than_announced_is_refused(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=b"before")
    file.path.write_bytes(b"after!")
    store = FileStore(tmp_path / "far")
    with pytest.raises(TransientError, match="another content"):
        store.receive(stream_of([file]))
    assert store.missing([file.sha256]) == (file.sha256,)
    assert not any((tmp_path / "far" / "files").iterdir())


def test_a_file_that_was_damaged_since_is_missing_again(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=b"before")
    store = FileStore(tmp_path / "far")
    store.receive(stream_of([file]))
    place = store.path(file.sha256)
    os.utime(place)  # touched: read again, and still whole
    assert store.missing([file.sha256]) == ()
    place.chmod(0o600)
    place.write_bytes(b"another")
    assert store.missing([file.sha256]) == (file.sha256,)


def test_a_job_that_writes_into_its_link_is_seen(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=bytes(2 << 20))
    store = FileStore(tmp_path / "far")
    store.receive(stream_of([file]))
    with store.folder() as folder:
        store.lay_out({"x/model.onnx": file.sha256}, folder)
        inner = folder / "x" / "model.onnx"
        assert inner.samefile(store.path(file.sha256))
        inner.chmod(0o600)
        with open(inner, "r+b") as opened:
            opened.write(b"changed")
    assert not folder.exists()
    assert store.missing([file.sha256]) == (file.sha256,)


def test_small_files_are_copied(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=b"small")
    store = FileStore(tmp_path / "far")
    store.receive(stream_of([file]))
    store.lay_out({"config.json": file.sha256}, tmp_path / "job")
    assert not (tmp_path / "job" / "config.json").samefile(store.path(file.sha256))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", ".", "..", "x\0y", "C:x", "..\\x"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (file,) = made(tmp_path / "near", a=b"small")
    store = FileStore(tmp_path / "far")
    store.receive(stream_of([file]))
    with pytest.raises(UsageError, match="leads out"):
        store.lay_out({name: file.sha256}, tmp_path / "job")


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "sha256:" + "0" * 64])
def test_what_is_no_digest_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="not a SHA-256"):
        FileStore(tmp_path / "far").missing([digest])


def test_the_far_side_is_a_program(tmp_path: Path) -> None:
    files = made(tmp_path / "near", a=b"one", b=b"two")
    command = [sys.executable, "-m", "paretune.targets.transports.receive", str(tmp_path / "far")]
    stream = b"P" + stream_of(files).getvalue()
    done = subprocess.run(command, input=stream, capture_output=True, check=True)
    assert done.stdout == BEGIN + b"{}\n2\n"
    assert FileStore(tmp_path / "far").missing(digests(files)) == ()
    broken = subprocess.run(command, input=stream[:700], capture_output=True, check=False)
    assert broken.returncode == 1
    assert b"broke off" in broken.stderr


def test_the_far_side_gives_files_back(tmp_path: Path) -> None:
    files = made(tmp_path / "far", a=b"one", b=os.urandom(2 << 20))
    far, near = FileStore(tmp_path / "far"), FileStore(tmp_path / "near")
    far.receive(stream_of(files))
    command = [sys.executable, "-m", "paretune.targets.transports.give", str(tmp_path / "far")]
    asked = "".join(f"{file.sha256} 0\n" for file in files).encode()
    done = subprocess.run([*command, "0"], input=asked, capture_output=True, check=True)
    said = io.BytesIO(done.stdout)
    skip_greeting(said)
    stream = cast(IO[bytes], Unpacked(said))
    assert near.receive(stream, {file.sha256: file.stamp.size for file in files}) == 2
    assert near.missing(digests(files)) == ()
    unknown = subprocess.run(command, input=b"0" * 64 + b" 0", capture_output=True, check=False)
    assert (unknown.returncode, unknown.stdout) == (1, b"")
    assert b"is not there any more" in unknown.stderr


def interrupted(store: FileStore, files: list[Stamped], share: float) -> None:
    """Let a stream of files break off after a share of it."""
    whole = stream_of(files).getvalue()
    with pytest.raises(TransientError, match="broke off"):
        store.receive(io.BytesIO(whole[: int(share * len(whole))]))


def test_a_large_file_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=os.urandom(4 << 20))
    store = FileStore(tmp_path / "far")
    interrupted(store, [file], 0.6)
    assert store.missing([file.sha256]) == (file.sha256,)
    begun = store.begun()
    assert 2 << 20 < begun[file.sha256] < 3 << 20
    assert not any((tmp_path / "far" / "staging").iterdir())
    stream = io.BytesIO()
    assert send([file], stream, begun) == file.stamp.size - begun[file.sha256]
    stream.seek(0)
    assert store.receive(stream, {file.sha256: file.stamp.size}) == 1
    assert store.missing([file.sha256]) == ()
    assert store.begun() == {}


def test_a_beginning_of_another_content_is_not_continued_twice(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=os.urandom(4 << 20))
    store = FileStore(tmp_path / "far")
    interrupted(store, [file], 0.6)
    place = tmp_path / "far" / "partial" / file.sha256
    place.write_bytes(bytes(place.stat().st_size))
    stream = io.BytesIO()
    send([file], stream, store.begun())
    stream.seek(0)
    with pytest.raises(TransientError, match="another content"):
        store.receive(stream)
    assert store.begun() == {}
    stream.seek(0)
    with pytest.raises(TransientError, match="the beginning of a file is not there any more"):
        store.receive(stream)
    assert store.receive(stream_of([file])) == 1


def test_the_beginning_of_a_small_file_is_not_kept(tmp_path: Path) -> None:
    files = made(tmp_path / "near", a=os.urandom(300_000))
    store = FileStore(tmp_path / "far")
    interrupted(store, files, 0.6)
    assert store.begun() == {}


@pytest.mark.parametrize("place", ["x", "-1", "1e3", "", "9" * 30, "1@2", "\u0661"])
def test_a_place_in_a_file_is_a_number(tmp_path: Path, place: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(f"{'0' * 64}@{place}"), io.BytesIO())
    stream.seek(0)
    with pytest.raises(UsageError):
        FileStore(tmp_path / "far").receive(stream)


def test_a_file_that_goes_on_beyond_its_size_is_refused(tmp_path: Path) -> None:
    (file,) = made(tmp_path / "near", a=os.urandom(4 << 20))
    store = FileStore(tmp_path / "far")
    interrupted(store, [file], 0.6)
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w|") as archive:
        entry = tarfile.TarInfo(f"{file.sha256}@{1 << 20}")
        entry.size = 4 << 20
        archive.addfile(entry, io.BytesIO(bytes(4 << 20)))
    stream.seek(0)
    with pytest.raises(UsageError, match=r"has 5242880 bytes, announced were 4194304"):
        store.receive(stream, {file.sha256: file.stamp.size})


def test_two_that_send_the_same_at_once_do_no_harm(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (file,) = made(tmp_path / "near", a=content)
    one, other = FileStore(tmp_path / "far"), FileStore(tmp_path / "far")
    one.receive(stream_of([file]))
    other.receive(stream_of([file]))
    assert hashlib.sha256(one.path(file.sha256).read_bytes()).hexdigest() == file.sha256


def test_the_far_side_says_where_it_cannot_write() -> None:
    command = [sys.executable, "-m", "paretune.targets.transports.receive", "/dev/null/store"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"/dev/null/store: Not a directory\n")


def test_only_what_was_asked_for_is_taken(tmp_path: Path) -> None:
    one, two = made(tmp_path / "near", a=b"one", b=b"two!")
    store = FileStore(tmp_path / "far")
    wanted: dict[str, int | None] = {one.sha256: 3, two.sha256: None}
    with pytest.raises(UsageError, match="was not asked for"):
        store.receive(stream_of([one, two]), {two.sha256: None})
    with pytest.raises(UsageError, match="has 3 bytes, announced were 4"):
        store.receive(stream_of([one]), {one.sha256: 4})
    with pytest.raises(UsageError, match="was not asked for"):
        store.receive(stream_of([two, two]), wanted)
    assert store.missing(wanted) == (one.sha256,)
    assert store.receive(stream_of([one, two]), wanted) == 2
    assert store.missing(wanted) == ()
    assert wanted == {one.sha256: 3, two.sha256: None}
