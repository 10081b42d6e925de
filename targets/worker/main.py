"""The worker: what a job's child process runs.

Standard input holds the request (JSON: ``task``, ``path``, ``scratch``, ``turns``), standard output
takes the messages (one JSON object per line: ``{"progress": ...}``, ``{"grace": ...}``, the seconds
that it may take to end from now on, and a last ``{"status", "value", "reason", "transient",
"memory"}``), standard error is the log. The tasks are those of
`paretune.core.job`; `TASKS` names the function that runs each. ``turns`` is the path of a socket
where jobs are interleaved (`paretune.targets.interleave`), else null.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import BinaryIO, NoReturn

from pydantic import create_model

from paretune.core.errors import (
    InputTouchedError,
    InvalidArtifactError,
    ParetuneError,
    TransientError,
)
from paretune.core.job import Build, Call, JobStatus, Measure, Smoke, Task, task_from_json
from paretune.core.jsontools import Json
from paretune.core.machine_lock import within_job
from paretune.core.packages import explained_import
from paretune.core.params import Params, parameter
from paretune.core.plugins import attribute, forget_installed
from paretune.core.progress import Progress
from paretune.models.inputs import check, renewed
from paretune.targets.interleave import place_at
from paretune.targets.worker import endings
from paretune.targets.worker.memory import MemoryHeld
from paretune.targets.worker.scratch import use_scratch

Report = Callable[[Progress], None]

TASKS: Mapping[type[Task], str] = {
    Build: "paretune.targets.worker.building:build",
    Measure: "paretune.targets.worker.measuring:measure",
    Smoke: "paretune.targets.worker.measuring:smoke",
    Call: "paretune.targets.worker.main:call",
}
_PROGRESS_EVERY_S = 0.2
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries say that raise no MemoryError: torch, onnxruntime, C++.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "failed to allocate memory",
)


def main(*, forked: bool = False) -> NoReturn:
    """Run the one job that standard input holds; never returns.

    Args:
        forked: Whether this process is a copy of one that has imported what most jobs need.
    """
    memory = MemoryHeld(forked=forked)
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints into the log
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable()
    endings.heed()
    try:
        final, value = _run(reply)
    except endings.TerminatedError:
        endings.die()
    if (
        endings.came() and final["status"] != JobStatus.OK
    ):  # a library made an error of its own of it
        endings.die()
    end = json.dumps({**final, "memory": memory.read()}).removeprefix("{")
    reply.write(f'{{"value": {value}, {end}\n'.encode())
    reply.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: what libraries do at exit can hang or crash, and the answer is given.
    os._exit(0)


def rehearse() -> None:
    """Go the way of a job that does nothing, before there is one.

    Of what a process writes to, it has no memory of its own until then; so a process that waits for
    its job does this while it waits.
    """
    MemoryHeld(forked=True).read()
    create_model("Nothing", __base__=Params, nothing=(str, parameter("", "Nothing.")))
    task = task_from_json(json.loads(json.dumps(Call("builtins:bool").to_json())))
    json.dumps(task.value_to_json(attribute(TASKS[type(task)])(task, lambda _: None, None)))


def _run(reply: BinaryIO) -> tuple[dict[str, Json], str]:
    """Return the last message without its value, and the value as JSON text: it may be long."""
    try:
        with open(0, "rb", closefd=False) as source:
            request = json.load(source)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        _see_modules(request["path"])
        use_scratch(request["scratch"])
        task = task_from_json(request["task"])
        if not isinstance(task, Call):  # for which nothing is held
            within_job()
        task = replace(task, inputs=renewed(task.inputs))
        found = attribute(TASKS[type(task)])(task, _reporter(reply), request["turns"])
        check(task.inputs)
        value = json.dumps(task.value_to_json(found))  # not JSON: the job's own error
        return {"status": JobStatus.OK, "reason": None, "transient": False}, value
    except endings.TerminatedError:
        raise
    # The boundary of the process: everything becomes an outcome, with its traceback in the log.
    except BaseException as error:
        traceback.print_exc()
        status, reason = classify(error)
        full = is_disk_full(error)
        if full:
            reason = f"the disk is full: {reason}"
        again = full or isinstance(error, InputTouchedError | TransientError)
        return {"status": status, "reason": reason, "transient": again}, "null"


def _see_modules(path: list[str]) -> None:
    """Find modules where the process that submitted the job does (tests, a user's own metric)."""
    new = [folder for folder in path if folder not in sys.path]
    if new:
        sys.path.extend(new)
        forget_installed()  # there may be plug-ins in it


def call(task: Call, report: Report, turns: str | None = None) -> Json:
    """Call ``module:function`` with JSON arguments; interleaved, in one turn."""
    function = attribute(task.function)
    with place_at(turns) as place, nullcontext() if place is None else place.turn():
        return function(**task.args)


def classify(error: BaseException) -> tuple[JobStatus, str]:
    """Return how a job ended that raised, and the reason as text."""
    if isinstance(error, InvalidArtifactError):
        return JobStatus.INVALID, str(error)
    if isinstance(error, ParetuneError):
        return JobStatus.FAILED, str(error)
    absent = explained_import(error)
    if absent is not None:
        return JobStatus.FAILED, f"{absent.message}. {absent.hint}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    out_of_memory = (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, Exception) and any(words in text.lower() for words in _NO_MEMORY))
    )
    return (JobStatus.OUT_OF_MEMORY if out_of_memory else JobStatus.FAILED), text


def is_disk_full(error: BaseException) -> bool:
    """Return whether a job raised because a disk, or the user's share of one, was full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK_FULL:
            return True
        # What libraries say that raise no OSError: safetensors, protobuf, C++.
        if isinstance(seen, Exception) and os.strerror(errno.ENOSPC).lower() in str(seen).lower():
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _reporter(reply: BinaryIO) -> Report:
    """Return a function that passes progress on, at most a few times per second."""
    lock = threading.Lock()
    last = ("", 0.0)

    def report(progress: Progress) -> None:
        nonlocal last
        with lock:
            now = time.monotonic()
            ends = progress.total > 0 and progress.done >= progress.total
            if progress.step == last[0] and now - last[1] < _PROGRESS_EVERY_S and not ends:
                return
            last = (progress.step, now)
            _send(reply, {"progress": asdict(progress)})

    def grace(seconds: float | None) -> None:
        with lock:
            _send(reply, {"grace": seconds})

    endings.announce_by(grace)
    return report


def _send(reply: BinaryIO, message: Mapping[str, Json]) -> None:
    reply.write(json.dumps(message).encode() + b"\n")
    reply.flush()
