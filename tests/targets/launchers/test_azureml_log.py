"""The log of a job in Azure: in pieces, without secrets, and with the worker's progress."""

from __future__ import annotations

from pathlib import Path

from paretune.core.progress import Progress
from paretune.core.protocol import Progressed
from paretune.targets.launchers.azureml_log import JobLog

PROGRESS = Progress("lora", 3, 10, "loss 1.2")


def test_lines_come_in_pieces_and_progress_is_passed_on(tmp_path: Path) -> None:
    seen: list[Progress] = []
    log = JobLog(tmp_path / "logs" / "a.log", on_progress=seen.append)
    content = b"first\n" + Progressed(1, PROGRESS).line() + b"second\nlast"
    for start in range(0, len(content), 7):
        log.feed(content[start : start + 7])
    assert log.seen == len(content)
    assert log.file.read_text() == "first\nsecond\n"
    log.end()
    assert log.file.read_text() == "first\nsecond\nlast\n"
    assert seen == [PROGRESS]
    assert log.tail() == "first\nsecond\nlast"


def test_a_token_is_never_written_wherever_the_pieces_end(tmp_path: Path) -> None:
    content = b"login with hf_secret_token, again hf_secret_token\nhf_secret_token"
    for length in range(1, 20):
        log = JobLog(tmp_path / "a.log", ["hf_secret_token", ""])
        for start in range(0, len(content), length):
            log.feed(content[start : start + length])
        log.end()
        assert log.file.read_text() == "login with ***, again ***\n***\n"


def test_what_is_no_progress_is_text(tmp_path: Path) -> None:
    seen: list[Progress] = []
    log = JobLog(tmp_path / "a.log", on_progress=seen.append)
    lines = b'{"type": "progress", "id": "x"}\n{"type": "result"}\n{"a": 1}\n{\n\xff\xfe\n'
    log.feed(lines)
    assert log.file.read_bytes() == lines
    assert not seen


def test_a_log_that_was_removed_has_no_last_lines(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log")
    log.feed(b"a line\n")
    assert log.tail() == "a line"
    log.file.unlink()
    assert log.tail() == ""
