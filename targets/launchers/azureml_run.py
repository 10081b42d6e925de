"""One job in Azure, from its files on this machine to its results: it is sent, and waited for."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.azure import patience
from paretune.azure.blobs import TooLargeError
from paretune.azure.patience import patiently
from paretune.core import protocol
from paretune.core.errors import ParetuneError, TransientError, UsageError
from paretune.core.job import Call, Job
from paretune.core.permissions import Permissions
from paretune.core.progress import Progress
from paretune.core.stamps import Stamped
from paretune.targets.launchers import answers
from paretune.targets.launchers.azureml_jobs import AzureJobs, JobState
from paretune.targets.launchers.azureml_log import JobLog
from paretune.targets.launchers.azureml_records import Claim
from paretune.targets.launchers.conversation import GRACE_S
from paretune.targets.transports.azure_blob import ROOT, AzureFiles
from paretune.targets.transports.tasks import addresses_of, files_of

_FIRST_POLL_S, _LONGEST_POLL_S, _SLOWER = 0.5, 10.0, 1.15
_GONE_S = 60.0
"""How long a job may not be in the workspace: what is submitted is not seen everywhere at once."""
_MOST_RESULT_BYTES = 2 * protocol.MOST_LINE_BYTES
_DESCRIBE_S = 600.0
_ID = 1
"""Of the job in its folder: there is one."""


class JobCancelledError(Exception):
    """The job was cancelled by this side."""


class ProgressError(Exception):
    """Who receives the progress of a job raised an error.

    Attributes:
        error: It.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Ended:
    """What came of a job in Azure.

    Attributes:
        state: How Azure says that it ended.
        log: What it printed.
        described: What the machine is on which it ran.
        result: The job's result.
        unreadable: Why its results cannot be read; None: they can, or there are none.
    """

    state: JobState
    log: JobLog
    described: protocol.Described | None = None
    result: protocol.Result | None = None
    unreadable: str | None = None


@dataclass
class AzureRunner:
    """Carries out jobs, one at a time in each thread.

    Attributes:
        name: The target's name.
        jobs: The jobs of the workspace.
        files: Their files.
        logs: Folder for their logs.
        wheel: This paretune.
        permissions: What jobs may do.
        token: For the Hugging Face hub; empty: jobs get none.
    """

    name: str
    jobs: AzureJobs
    files: AzureFiles
    logs: Path
    wheel: Stamped
    permissions: Permissions
    token: str = ""

    def carry_out(
        self,
        claim: Claim,
        job: Job | None,
        cancelled: threading.Event,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Ended:
        """Submit a job, unless that was done, and wait for its end.

        Args:
            claim: Its name.
            job: It; None: nothing runs, and the machine is described.
            cancelled: Whether its result is not wanted any more.
            on_progress: Receives progress.

        Raises:
            JobCancelledError: It is not wanted any more.
            CredentialsError: The credentials are not accepted, or not any more.
            UsageError: Azure refuses the job.
            ConnectionLostError: The service stays away.
            TransientError: A file that the job reads is gone, or was written meanwhile.
            ProgressError: Who receives the progress raised an error.
        """

        def show(progress: Progress) -> None:
            try:
                if on_progress is not None:
                    on_progress(progress)
            except BaseException as error:
                raise ProgressError(error) from error

        log = JobLog(self.logs / f"{claim.name}.log", [self.token], show)
        step = None if job is None or isinstance(job.task, Call) else job.task.name
        try:
            known = claim.found and patiently(lambda: self.jobs.state(claim.name), cancelled)
            if not known:
                self._send(claim, job, cancelled, show)
            state = self._wait(claim, log, cancelled, step, show)
            ended = Ended(replace(state, reason=self._masked(state.reason)), log)
            patiently(lambda: self._read(ended, f"{_folder(claim)}/out/results.jsonl"), cancelled)
        except TransientError:
            if cancelled.is_set():
                raise JobCancelledError from None
            raise
        return ended

    def _masked(self, text: str | None) -> str | None:
        """Return a text of a job without the token."""
        return text.replace(self.token, "***") if text and self.token else text

    def _read(self, ended: Ended, place: str) -> None:
        """Read the results of a job; nothing of them is believed."""
        try:
            content = self.files.datastore.read(place, _MOST_RESULT_BYTES) or b""
            for line in answers.lines(io.BytesIO(content)):
                said = answers.read(line)
                if isinstance(said, protocol.Described):
                    ended.described = said
                elif isinstance(said, protocol.Result) and said.id == _ID:
                    log = self._masked(said.log) or ""
                    ended.result = replace(said, log=log, reason=self._masked(said.reason))
        except (answers.AnswerError, TooLargeError) as error:
            ended.unreadable = str(error)

    def give_up(self, claim: Claim) -> None:
        """Cancel a job whose result is not wanted."""
        try:
            self.jobs.cancel(claim.name)
        except ParetuneError:  # it ends by its own limit; the next search cancels it
            claim.leave()
        else:
            claim.done()

    def _send(
        self,
        claim: Claim,
        job: Job | None,
        cancelled: threading.Event,
        show: Callable[[Progress], None],
    ) -> None:
        """Send what a job needs, and submit it."""
        quiet = job is None or isinstance(job.task, Call)

        def sent(file: Stamped, done: int) -> None:
            if cancelled.is_set():
                raise JobCancelledError
            if quiet:
                return
            note = f"{done / 1e6:.0f} of {file.stamp.size / 1e6:.0f} MB sent to Azure"
            show(Progress("files", 0, 0, note))

        hello = protocol.Hello(protocol.VERSION, shared=False, permissions=self.permissions)
        lines, needed, what = [hello.line()], [], "describe"
        in_place: dict[str, str] = {}
        seconds: float | None = _DESCRIBE_S
        if job is not None:
            lines.append(protocol.Run(_ID, job.task.to_json(), job.limits).line())
            seconds = None if job.limits.seconds is None else job.limits.seconds + GRACE_S
            in_place = addresses_of(job.task)
            needed = [f for f in files_of(job.task).values() if f.sha256 not in in_place]
            what = job.task.name
        places = self.files.send([*needed, self.wheel], cancelled, sent)

        def submit() -> None:
            store, folder = self.files.datastore, _folder(claim)
            addresses = {digest: store.uri(place) for digest, place in places.items()}
            wheel = addresses.pop(self.wheel.sha256)
            store.write(f"{folder}/jobs.jsonl", b"".join(lines))
            if cancelled.is_set():
                raise JobCancelledError
            self.jobs.submit(
                claim.name,
                f"{self.name}: {what}",
                store.uri(f"{folder}/jobs.jsonl"),
                wheel,
                addresses | in_place,
                store.uri(f"{folder}/out"),
                seconds,
                {"HF_TOKEN": self.token} if self.token else {},
            )

        patiently(submit, cancelled)

    def _wait(
        self,
        claim: Claim,
        log: JobLog,
        cancelled: threading.Event,
        step: str | None,
        show: Callable[[Progress], None],
    ) -> JobState:
        """Wait until a job has ended, and follow its log.

        Raises:
            ConnectionLostError: Azure cannot be reached for too long.
        """
        pause, shown = _FIRST_POLL_S, ""
        down: float | None = None
        gone: float | None = None
        while not cancelled.is_set():
            try:
                state = self.jobs.state(claim.name)
                down = None
            except TransientError as error:
                down = down or time.monotonic()
                if time.monotonic() - down > patience.DOWN_S:
                    raise patience.stays_away(error) from error
            else:
                if state is None:  # not yet, or somebody has deleted it
                    gone = gone or time.monotonic()
                    if time.monotonic() - gone > _GONE_S:
                        return JobState("Deleted", "it is not in the workspace any more")
                    cancelled.wait(pause)
                    continue
                gone = None
                self._follow(log, state)
                if state.ended:
                    log.end()
                    return state
                if step is not None and state.status != shown:
                    shown = state.status
                    show(Progress(step, 0, 0, f"{shown.lower()} in Azure ({claim.name})"))
            cancelled.wait(pause)
            pause = min(pause * _SLOWER, _LONGEST_POLL_S)
        raise JobCancelledError

    def _follow(self, log: JobLog, state: JobState) -> None:
        """Take what a job has printed; nothing of the job depends on it."""
        try:
            log.feed(self.jobs.log(state, log.seen))
        except (TransientError, UsageError) as error:
            log.unread = error.message


def _folder(claim: Claim) -> str:
    """Return the folder of a job in the datastore."""
    return f"{ROOT}/jobs/{claim.name}"
