"""Files by digest: what arrives is what was sent, once, whatever happens on the way."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.core.errors import TransientError, UsageError
from paretune.core.stamps import Stamped, take
from paretune.targets.transports.files import FileStore, send


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
    stream = stream_of(files).getvalue()
    done = subprocess.run(command, input=stream, capture_output=True, check=True)
    assert done.stdout == b"2\n"
    assert FileStore(tmp_path / "far").missing(digests(files)) == ()
    broken = subprocess.run(command, input=stream[:700], capture_output=True, check=False)
    assert broken.returncode == 1
    assert b"broke off" in broken.stderr


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
