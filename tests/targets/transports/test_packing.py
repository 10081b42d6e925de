"""Streams that are compressed where it pays: what arrives is what was sent."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import pytest

from paretune.core.errors import TransientError
from paretune.targets.transports.packing import Packed, Rate, Unpacked, is_faster, pays

MB = 1e6


def packed(content: bytes, *, compress: bool) -> bytes:
    stream = io.BytesIO()
    with Packed(stream, compress=compress) as out:
        for start in range(0, len(content), 70_000):
            piece = content[start : start + 70_000]
            assert out.write(piece) == len(piece)
    assert out.bytes == len(stream.getvalue())
    return stream.getvalue()


def unpacked(content: bytes, size: int = 10_000) -> bytes:
    stream, found = Unpacked(io.BytesIO(content)), b""
    while piece := stream.read(size):
        assert len(piece) <= size
        found += piece
    assert stream.bytes == len(content)
    return found


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(300_000), os.urandom(300_000)], ids=["none", "one", "same", "any"]
)
def test_what_arrives_is_what_was_sent(content: bytes, compress: bool) -> None:
    sent = packed(content, compress=compress)
    assert unpacked(sent) == content
    if compress and content == bytes(300_000):
        assert len(sent) < 3000


@pytest.mark.parametrize("compress", [True, False])
def test_a_stream_that_breaks_off_or_goes_on(compress: bool) -> None:
    sent = packed(os.urandom(200_000), compress=compress)
    for wrong in (b"", b"X" + sent[1:]):
        with pytest.raises(TransientError, match="broke off"):
            unpacked(wrong)
    if compress:
        for place in (1, 2, len(sent) // 2, len(sent) - 1):
            with pytest.raises(TransientError, match="broke off"):
                unpacked(sent[:place])
        with pytest.raises(TransientError, match="goes on after its end"):
            unpacked(sent + b"x")
        with pytest.raises(TransientError, match="broke off"):
            unpacked(sent[:50_000] + bytes(100_000) + sent[150_000:])


def test_little_is_held_of_a_stream_that_unpacks_to_much() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    stream = Unpacked(io.BytesIO(b"Z" + bomb))
    total = 0
    while piece := stream.read(-1):
        assert len(piece) <= 1 << 18
        total += len(piece)
    assert total == 50_000_000


@pytest.mark.parametrize(
    ("share", "speed", "rate", "faster"),
    [
        (0.5, 100 * MB, 10 * MB, True),  # a slow connection gains
        (0.5, 100 * MB, 500 * MB, False),  # a fast one outruns the compression
        (0.95, 100 * MB, 1 * MB, False),  # weights that hardly become smaller
        (0.5, 10 * MB, 10 * MB, False),  # a slow processor
    ],
)
def test_what_pays(share: float, speed: float, rate: float, faster: bool) -> None:
    assert is_faster(share, speed, rate) is faster


def test_it_is_decided_by_the_files_and_the_connection(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"the same again and " * 300_000)
    (tmp_path / "noise").write_bytes(os.urandom(6_000_000))
    text, noise, size = [tmp_path / "text"], [tmp_path / "noise"], 6_000_000
    assert pays(text, size, 1000.0)
    assert not pays(text, size, 1e15)
    assert not pays(noise, size, 1000.0)
    assert not pays(text, size, None), "nobody knows how fast the connection is"
    assert not pays(text, 1000, 1000.0), "it is little"
    assert not pays([], 0, 1000.0)


def test_a_rate_is_that_of_the_last_large_transfer() -> None:
    rate = Rate()
    rate.note(1000, 1.0)
    assert rate.bytes_per_s is None
    rate.note(20 << 20, 2.0)
    assert rate.bytes_per_s == 10 << 20
