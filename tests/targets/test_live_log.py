"""What jobs print and report, in one stream."""

from __future__ import annotations

import io
from pathlib import Path

from paretune.core.progress import Progress
from paretune.core.protocol import Progressed, read
from paretune.targets.live_log import LiveLog


def test_what_is_appended_is_shown_to_its_last_line(tmp_path: Path) -> None:
    log, stream = tmp_path / "log", io.BytesIO()
    log.write_bytes(b"begun\n")
    with LiveLog(stream).following(log), open(log, "ab") as out:
        out.write(b"more\nand the last")
    assert stream.getvalue() == b"begun\nmore\nand the last\n"


def test_progress_is_a_message_and_not_each_one(tmp_path: Path) -> None:
    stream = io.BytesIO()
    live = LiveLog(stream)
    for done in range(1000):
        live.progress(7, Progress("lora", done, 1000))
    lines = stream.getvalue().splitlines()
    first = read(lines[0])
    assert first == Progressed(7, Progress("lora", 0, 1000))
    assert len(lines) < 1000


def test_a_stream_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    stream = io.BytesIO()
    stream.close()
    log = tmp_path / "log"
    log.write_bytes(b"text\n")
    live = LiveLog(stream)
    with live.following(log):
        live.progress(1, Progress("lora", 1, 2))
