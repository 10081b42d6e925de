from __future__ import annotations

import errno
import io
import json

import pytest

from paretune.core.errors import InvalidArtifactError, PassError, UsageError
from paretune.core.exits import explain_exit, is_from_outside, oom_kills
from paretune.core.job import JobStatus, task_from_json
from paretune.core.progress import Progress
from paretune.targets.worker.main import _reporter, classify


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (InvalidArtifactError("x", hint="y"), JobStatus.INVALID, "x\n  y"),
        (PassError("x"), JobStatus.FAILED, "x"),
        (ValueError("x"), JobStatus.FAILED, "ValueError: x"),
        (KeyboardInterrupt(), JobStatus.FAILED, "KeyboardInterrupt"),
        (MemoryError(), JobStatus.OUT_OF_MEMORY, "MemoryError"),
        (
            OSError(errno.ENOMEM, "Cannot allocate memory"),
            JobStatus.OUT_OF_MEMORY,
            "OSError: [Errno 12] Cannot allocate memory",
        ),
        (OSError(errno.ENOENT, "No"), JobStatus.FAILED, "FileNotFoundError: [Errno 2] No"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            JobStatus.OUT_OF_MEMORY,
            "RuntimeError: DefaultCPUAllocator: can't allocate memory",
        ),
        (RuntimeError("std::bad_alloc"), JobStatus.OUT_OF_MEMORY, "RuntimeError: std::bad_alloc"),
    ],
)
def test_errors_become_outcomes(error: BaseException, status: JobStatus, reason: str) -> None:
    assert classify(error) == (status, reason)


@pytest.mark.parametrize(
    ("code", "killer", "status", "words"),
    [
        (-11, False, JobStatus.CRASHED, "segmentation fault (SIGSEGV)"),
        (-6, False, JobStatus.CRASHED, "aborted itself (SIGABRT)"),
        (-9, False, JobStatus.CRASHED, "killed from outside (SIGKILL)"),
        (-11, True, JobStatus.CRASHED, "segmentation fault (SIGSEGV)"),
        (-9, True, JobStatus.OUT_OF_MEMORY, "ran out of memory (last seen at 5 MB)"),
        (-13, False, JobStatus.CRASHED, "SIGPIPE"),
        (7, False, JobStatus.CRASHED, "exited with status 7 without a result"),
        (None, False, JobStatus.CRASHED, "was lost together with"),
    ],
)
def test_exits_are_put_in_words(
    code: int | None, killer: bool, status: JobStatus, words: str
) -> None:
    found, reason = explain_exit(code, 5_000_000, oom_killer_ran=killer)
    assert found is status
    assert words in reason


@pytest.mark.parametrize(
    ("code", "outside"),
    [
        *((-number, True) for number in (1, 2, 3, 9, 10, 12, 15, 40)),
        *((-number, False) for number in (4, 5, 6, 7, 8, 11, 13, 14, 24, 25, 26, 27, 31)),
        (0, False),
        (3, False),
        (None, True),
    ],
)
def test_who_ended_a_worker(code: int | None, outside: bool) -> None:
    assert is_from_outside(code) is outside


def test_the_kernels_own_count_is_read() -> None:
    assert oom_kills(lambda: "nr_free_pages 3\noom_kill 12\nx 1\n") == 12
    assert oom_kills(lambda: "nothing 1\n") is None

    def absent() -> str:
        raise FileNotFoundError

    assert oom_kills(absent) is None


def test_progress_is_thinned_out_and_its_end_kept() -> None:
    reply = io.BytesIO()
    report = _reporter(reply)
    for done in range(1001):
        report(Progress("lora", done, 1000))
    report(Progress("merge", 0, 0))
    sent = [json.loads(line)["progress"] for line in reply.getvalue().splitlines()]
    assert sent[0]["done"] == 0
    assert sent[-2] == {"step": "lora", "done": 1000, "total": 1000, "note": "", "waits": False}
    assert sent[-1]["step"] == "merge"
    assert len(sent) < 10


def test_an_unknown_kind_of_job() -> None:
    with pytest.raises(UsageError, match="Did you mean 'measure'"):
        task_from_json({"kind": "mesure"})
