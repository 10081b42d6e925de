"""Processes that do not end, or write without an end."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

from paretune.targets.transports.bounded import LastWords, Stalled, TooMuchError, run_bounded

_LONG_S = 300.0


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_what_a_command_reads_and_writes() -> None:
    done = run_bounded(shell("cat; echo no >&2; exit 3"), b"x" * 300_000, _LONG_S)
    assert (done.status, done.output, done.errors) == (3, b"x" * 300_000, b"no\n")


def test_a_command_that_reads_nothing_is_no_error() -> None:
    assert run_bounded(shell("exec true"), b"x" * 300_000, _LONG_S).status == 0


@pytest.mark.parametrize("text", ["yes", "yes >&2", "cat /dev/zero", "yes & exec sleep 900"])
def test_a_command_that_writes_without_an_end(text: str) -> None:
    with pytest.raises(TooMuchError):
        run_bounded(shell(text), b"", _LONG_S)


@pytest.mark.parametrize("text", ["sleep 900", "sleep 20 & exit", "exec >&- 2>&-; sleep 900"])
def test_a_command_that_does_not_end(text: str) -> None:
    with pytest.raises(TimeoutError):
        run_bounded(shell(text), b"", 0.2)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run_bounded(["/nowhere/program"], b"", _LONG_S)


def test_the_end_of_what_a_process_wrote_is_kept() -> None:
    program = "import sys; sys.stderr.write('x' * 5_000_000 + 'the end')"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert process.stderr is not None
    words = LastWords(process.stderr)
    assert process.wait(_LONG_S) == 0
    assert words.text().endswith("xthe end")
    assert len(words.text()) == 2000


def test_a_stream_that_stalls_is_noticed() -> None:
    happened = threading.Event()
    with Stalled(0.02, happened.set) as stalled:
        stalled.watched(io.BytesIO()).write(b"x")
        assert happened.wait(_LONG_S)
    assert stalled.happened


def test_a_stream_that_moves_is_left_alone() -> None:
    out = io.BytesIO()
    with Stalled(_LONG_S, lambda: None) as stalled:
        assert stalled.watched(out).write(b"abc") == 3
    assert not stalled.happened
    assert out.getvalue() == b"abc"
