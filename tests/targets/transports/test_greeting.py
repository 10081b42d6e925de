"""What a login prints before a stream of files."""

from __future__ import annotations

import io

import pytest

from paretune.core.errors import TransientError
from paretune.targets.transports.greeting import BEGIN, MOST_GREETING_BYTES, skip_greeting


@pytest.mark.parametrize("greeting", [b"", b"Welcome\n", b"Welcome", b"\0\xff\n\n", b"P" * 100_000])
def test_what_follows_a_greeting_is_read(greeting: bytes) -> None:
    stream = io.BytesIO(greeting + BEGIN + b"Pfiles")
    skip_greeting(stream)
    assert stream.read() == b"Pfiles"


def test_a_stream_that_does_not_begin_is_read_to_its_end() -> None:
    stream = io.BytesIO(b"Welcome\n")
    skip_greeting(stream)
    assert stream.read() == b""


def test_a_greeting_without_an_end_is_given_up() -> None:
    with pytest.raises(TransientError, match="and more of it, is not a stream of files"):
        skip_greeting(io.BytesIO(bytes(2 * MOST_GREETING_BYTES)))
