"""Runs the jobs that lie in a folder: for a machine that is given work and has no channel back.

::

    IN/jobs.jsonl        `hello`, then a `run` per job (`paretune.core.protocol`)
    IN/files/SHA256      the files that their tasks name
    OUT/results.jsonl    `described`, then a `result` per job, each when its job has ended
    OUT/files/SHA256     the files of models that were built; the results list them by name

Jobs run one after another, as a `LocalTarget` runs them. Those with ``turns`` are interleaved with
each other, when the first of them comes. Paths in tasks are those of the side that made them; where
``hello`` says that they are shared, they are used as they are. A job whose file is absent or
damaged fails, and the others run. ``python -P -m paretune.targets.batch IN OUT`` ends with status 0
where each job has a result, whatever that is. Meanwhile it prints what the jobs print, and their
progress as messages of the protocol.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from paretune.core import protocol
from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.interference import Watch
from paretune.core.job import (
    Build,
    BuildResult,
    Job,
    JobResult,
    JobStatus,
    Measure,
    TurnsEndedError,
    task_from_json,
)
from paretune.core.jsontools import Json
from paretune.core.stamps import Stamped, stamp, take_all
from paretune.targets.described import described, result_of, shortened
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.live_log import LiveLog
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import files_of, localized

JOBS, RESULTS, FILES = "jobs.jsonl", "results.jsonl", "files"


def run(folder_in: Path, folder_out: Path, live: BinaryIO | None = None) -> None:
    """Run all jobs of a folder.

    Args:
        folder_in: Holds the jobs and their files; nothing is written to it.
        folder_out: Takes the results; made if absent.
        live: Takes what the jobs print and their progress, meanwhile; None: nothing does.

    Raises:
        UsageError: The jobs cannot be read.
    """
    hello, runs = _read(folder_in / JOBS)
    (folder_out / FILES).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paretune-")))
        store = hello.store or own
        target = stack.enter_context(LocalTarget(store, allow_network=hello.permissions.network))
        target.preload(hello.packages)
        lines = stack.enter_context(open(folder_out / RESULTS, "wb"))
        live_log = None if live is None else LiveLog(live)
        batch = _Batch(folder_in / FILES, folder_out / FILES, hello, store, target, lines, live_log)
        batch.describe()
        for group in _groups(runs):
            batch.run(group)


def _read(file: Path) -> tuple[protocol.Hello, list[protocol.Run]]:
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    messages = [protocol.read(line) for line in lines if line.strip()]
    first, others = next(iter(messages), None), messages[1:]
    if not isinstance(first, protocol.Hello):
        raise UsageError(f"{file}: expected hello in the first line")
    if first.protocol != protocol.VERSION:
        raise UsageError(
            f"{file}: protocol {first.protocol}, expected {protocol.VERSION}",
            hint="Use the same version of paretune on both sides.",
        )
    runs = [message for message in others if isinstance(message, protocol.Run)]
    if len(runs) < len(others):
        raise UsageError(f"{file}: expected run in every line after the first one")
    return first, runs


def _groups(runs: Sequence[protocol.Run]) -> Iterator[list[protocol.Run]]:
    """Yield the jobs in order: those with turns together, every other one by itself."""
    together = [each for each in runs if each.turns]
    for each in runs:
        if not each.turns:
            yield [each]
        elif each is together[0]:
            yield together


class _Batch:
    """The jobs of one folder.

    Args:
        arrived: Holds the files that tasks name.
        made: Takes the files of built models.
        hello: What is allowed.
        store: Root of the artifact store here.
        target: Runs the jobs.
        lines: Takes the messages.
        live: Takes what jobs print and their progress, meanwhile.
    """

    def __init__(
        self,
        arrived: Path,
        made: Path,
        hello: protocol.Hello,
        store: Path,
        target: LocalTarget,
        lines: BinaryIO,
        live: LiveLog | None,
    ) -> None:
        self._arrived, self._made, self._lines, self._live = arrived, made, lines, live
        self._hello, self._store, self._target = hello, store, target
        self._files = FileStore(store)

    def describe(self) -> None:
        """Write what this machine is."""
        message = described(self._target)
        self._say(message)
        if self._live is not None:
            self._live.begun(message)

    def run(self, group: Sequence[protocol.Run]) -> None:
        """Run one job, or several that are interleaved, and write their results."""
        with ExitStack() as stack:
            jobs: dict[int, Job] = {}
            results: dict[int, JobResult] = {}
            for each in group:
                try:
                    jobs[each.id] = self._prepared(each, stack)
                except (ParetuneError, OSError) as error:
                    again = isinstance(error, TransientError | OSError)
                    results[each.id] = JobResult(
                        JobStatus.FAILED, None, str(error), transient=again
                    )
            watch = Watch(None) if any(isinstance(j.task, Measure) for j in jobs.values()) else None
            if results:  # interleaved jobs are compared with each other
                results |= dict.fromkeys(jobs, _ended_with(min(results)))
            elif group[0].turns:
                results = self._interleaved(jobs)
            else:
                results = {id: self._target.submit(job).result() for id, job in jobs.items()}
            if watch is not None:
                watch.end()
            for id, result in results.items():
                self._end(id, jobs.get(id), result, watch)

    def _prepared(self, message: protocol.Run, stack: ExitStack) -> Job:
        """Return a job with paths of this machine; its folder goes when the stack is closed."""
        task = task_from_json(message.task)
        if not self._hello.shared:
            self._bring(files_of(task))
            task = stack.enter_context(localized(task, self._files))
            if isinstance(task, Build):
                task = replace(task, store=self._store, study=None)
        with tempfile.NamedTemporaryFile(delete=False) as made:
            log = Path(made.name)
        stack.callback(log.unlink, missing_ok=True)
        if self._live is None:
            return Job(task, message.limits, log)
        stack.enter_context(self._live.following(log))
        return Job(task, message.limits, log, partial(self._live.progress, message.id))

    def _bring(self, digests: Iterable[str]) -> None:
        """Take files of the folder over into the store; each is compared with its digest.

        Raises:
            UsageError: One is not in the folder.
            TransientError: The content of one is another.
        """
        wanted = []
        for digest in self._files.missing(digests):
            path = self._arrived / digest
            if not path.is_file():
                raise UsageError(f"the file {digest[:12]} is not in {self._arrived}")
            wanted.append(Stamped(path, digest, stamp(path), digest))
        if not wanted:
            return
        read_end, write_end = os.pipe()

        def write() -> None:
            # Where a file goes meanwhile, the stream breaks off, and the reader says so.
            with suppress(ParetuneError, OSError), os.fdopen(write_end, "wb") as stream:
                send(wanted, stream)

        sender = threading.Thread(target=write, daemon=True)
        sender.start()
        with os.fdopen(read_end, "rb") as stream:
            self._files.receive(stream, {file.sha256: file.stamp.size for file in wanted})
        sender.join()

    def _interleaved(self, jobs: Mapping[int, Job]) -> dict[int, JobResult]:
        ids = list(jobs)
        try:
            results = self._target.interleave(list(jobs.values()), random.Random())
        except TurnsEndedError as error:
            self._target.cancel()
            first = ids[error.number]
            return {**dict.fromkeys(ids, _ended_with(first)), first: error.result}
        return dict(zip(ids, results, strict=True))

    def _end(self, id: int, job: Job | None, result: JobResult, watch: Watch | None) -> None:
        """Write the result of a job, and the files of the model that it built."""
        if job is None:
            self._say(result_of(id, result, None, ""))
            return
        assert job.log is not None
        value, log = result.value, shortened(job.log)
        if result.status is JobStatus.OK:
            if isinstance(value, BuildResult) and not self._hello.shared:
                value = self._packed(value)
            value = job.task.value_to_json(value)
        timed = watch if isinstance(job.task, Measure) else None
        token = os.environ.get("HF_TOKEN", "")
        if token:  # the results lie in a store that others may read
            log = log.replace(token, "***")
            reason = result.reason and result.reason.replace(token, "***")
            result, value = replace(result, reason=reason), _masked(value, token)
        self._say(result_of(id, result, value, log, timed))

    def _packed(self, built: BuildResult) -> BuildResult:
        """Return what was built with the list of its files, which are copied beside the results.

        So are the files of each step, if the job asked for them (`Build.seeds`).
        """
        model = built.model
        files = take_all(model.path, model.parts)
        for file in (*files, *(file for step in built.made for file in step.files)):
            place = self._made / file.sha256
            if not place.exists():
                aside = place.with_suffix(".part")
                shutil.copyfile(file.path, aside)
                aside.replace(place)
        return replace(built, model=replace(model, files=files, base=None))

    def _say(self, message: protocol.Message) -> None:
        self._lines.write(message.line())
        self._lines.flush()
        os.fsync(self._lines.fileno())


def _masked(value: Json, token: str) -> Json:
    """Return a JSON value whose texts are without a token."""
    if isinstance(value, str):
        return value.replace(token, "***")
    if isinstance(value, Mapping):
        return {_masked(key, token): _masked(each, token) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, token) for each in value]
    return value


def _ended_with(id: int) -> JobResult:
    """Return the result of a job that was to be interleaved with one that ended."""
    reason = f"job {id}, with which it was interleaved, ended before its turns"
    return JobResult(JobStatus.CANCELLED, None, reason, transient=True)


def main() -> None:
    """Run the folder that the command line names; the second one takes the results."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: jobs end
    try:
        folder_in, folder_out = map(Path, sys.argv[1:])
    except ValueError:
        sys.exit("usage: python -P -m paretune.targets.batch IN OUT")
    try:
        run(folder_in, folder_out, sys.stdout.buffer)
    except UsageError as error:
        print(error, file=sys.stderr)
        sys.exit(UsageError.exit_status)


if __name__ == "__main__":
    main()
