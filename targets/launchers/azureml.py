"""The target ``azureml``: a compute of an Azure Machine Learning workspace (`docs/azureml.md`).

Each job is a command job of the workspace. Its files go up before (`AzureFiles`), its results and
what it made come back afterwards; in between, this side asks from time to time what has become of
it. Builds come back as those of any other machine (`FarBuilds`).
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from paretune.azure.blobs import Datastore
from paretune.azure.client import open_client
from paretune.azure.workspace import Workspace
from paretune.core.device import TargetInfo
from paretune.core.errors import (
    ConnectionLostError,
    InputChangedError,
    ParetuneError,
    StateError,
    TargetLostError,
    TargetRefusesError,
    TransientError,
    UsageError,
)
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus, Measure, Smoke
from paretune.core.jsontools import Json
from paretune.core.permissions import Permissions
from paretune.core.user_paths import default_store
from paretune.targets.launchers import answers
from paretune.targets.launchers.azureml_compute import Compute
from paretune.targets.launchers.azureml_inputs import check_files
from paretune.targets.launchers.azureml_jobs import Place
from paretune.targets.launchers.azureml_records import Claim, Records, identity_of
from paretune.targets.launchers.azureml_run import Ended, JobCancelledError, ProgressError
from paretune.targets.launchers.far_builds import FarBuilds
from paretune.targets.transports.azure_blob import AzureFiles
from paretune.targets.transports.tasks import Describer

_DID_NOT_BEGIN = "No worker began there. Check the job in Azure: its quota, its image, its node."


@dataclass(eq=False)
class _Running:
    """A job that this side waits for."""

    job: Job
    future: Future[JobResult] = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)


class AzuremlTarget:
    """Runs jobs on a compute of a workspace.

    Args:
        store_root: The artifact store of this machine.
        allow_network: Whether jobs may reach out.
        name: The target's name.
        workspace: Which.
        place: The compute, and what jobs run with.
        hf_token: Whether jobs get the HF_TOKEN of this process.
    """

    far = True
    """Its jobs run with another interpreter (`paretune.core.target.is_far`)."""

    def __init__(
        self,
        store_root: Path | None = None,
        allow_network: bool = False,
        name: str = "azureml",
        *,
        workspace: Workspace,
        place: Place,
        hf_token: bool = False,
    ) -> None:
        self.name = name
        if not allow_network:
            place = replace(place, secret=None)
        self._workspace = workspace
        store = store_root or default_store()
        self._permissions = Permissions(network=allow_network)
        client = open_client(workspace)
        self._files = AzureFiles(Datastore(client))
        self._records = Records(store, f"{workspace.uri('', '')} {place.compute}")
        self._describer = Describer(store)
        self._folder = tempfile.TemporaryDirectory(prefix="paretune-azureml-")
        self._compute = Compute(
            name,
            client,
            place,
            self._files,
            self._records,
            store,
            Path(self._folder.name),
            self._permissions,
            hf_token,
        )
        self._lock = threading.Lock()
        self._running: dict[_Running, threading.Thread] = {}
        self._taking: dict[Future[JobResult], Claim] = {}
        """By the future of a build there, the job whose artifacts are on their way."""
        self._studies: set[str] = set()
        self._closed = self._lost = False
        self._builds = FarBuilds(name, self._submit, self._describer, self._files)

    def info(self) -> TargetInfo:
        """Return what the compute is; the first time a small job finds out.

        Raises:
            UsageError: It cannot be used: credentials, names, image or packages are wrong.
        """
        # Each job may have a machine of its own.
        there = f"azureml {self._workspace.workspace_name}/{self._compute.place.compute}"
        return replace(self._begin(), name=self.name, boot_id=there)

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a job in Azure.

        Raises:
            UsageError: The compute cannot be used.
            StateError: The target is closed.
        """
        self._begin()
        if isinstance(job.task, Build):
            if job.task.study is not None:
                self._studies.add(str(job.task.study))
            return self._built(self._builds.submit(job))
        return self._submit(job)

    def _built(self, build: Future[JobResult]) -> Future[JobResult]:
        """Have the job of a build forgotten once what it made lies here."""
        there = self._builds.there(build)

        def forget(build: Future[JobResult]) -> None:
            claim = self._taking.pop(there, None)
            if claim is not None and build.exception() is not None:
                self._lost = True
                claim.leave()
            elif claim is not None:
                claim.done()

        build.add_done_callback(forget)
        return build

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """End a job, or all of them; they are ``cancelled`` within a few seconds."""
        self._builds.cancel(future)
        there = None if future is None else self._builds.there(future)
        with self._lock:
            for running in self._running:
                if there in (None, running.future):
                    running.cancelled.set()

    def move_in(self, moving: Callable[[], AbstractContextManager[object]]) -> None:
        """Send and receive files only in such a context."""
        self._files.moving = self._builds.moving = moving

    def close(self) -> None:
        """Cancel every job; may be called again."""
        with self._lock:
            first, self._closed = not self._closed, True
            threads = list(self._running.values())
        self.cancel()
        for thread in threads:
            thread.join()
        self._builds.close()
        compute = self._compute
        if first and not (self._lost or compute.away) and compute.device is not None:
            for claim in self._records.left_by(frozenset(self._studies)):
                compute.runner.give_up(claim)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, job: Job) -> Future[JobResult]:
        running = _Running(job)
        running.future.set_running_or_notify_cancel()
        thread = threading.Thread(target=self._run, args=(running,), daemon=True)
        with self._lock:
            if self._closed:
                raise StateError("the target is closed", hint="Make a new one.")
            self._running[running] = thread
            thread.start()
        return running.future

    def _run(self, running: _Running) -> None:
        try:
            result = self._result(running)
        except JobCancelledError:
            result = JobResult(JobStatus.CANCELLED, None, "cancelled")
        except ConnectionLostError as error:
            self._compute.away = True
            result = JobResult(JobStatus.CRASHED, None, str(error), transient=True, lost=error)
        except TransientError as error:
            result = JobResult(JobStatus.FAILED, None, str(error), transient=True)
        except BaseException as error:  # handed to whoever waits for the future
            self._forget(running)
            running.future.set_exception(self._of_all_jobs(error))
            return
        self._forget(running)
        running.future.set_result(result)

    def _of_all_jobs(self, error: BaseException) -> BaseException:
        """Return an error that ends the search; if Azure refuses, no candidate is the cause."""
        if isinstance(error, ProgressError):
            return error.error
        if isinstance(error, InputChangedError):
            return error
        self._lost = self._lost or isinstance(error, UsageError)
        if not isinstance(error, UsageError) or isinstance(error, TargetLostError):
            return error
        return TargetRefusesError(
            f"the target {self.name!r} cannot be used any more: {error.message}", hint=error.hint
        )

    def _forget(self, running: _Running) -> None:
        with self._lock:
            del self._running[running]

    def _begin(self) -> TargetInfo:
        if self._closed:
            raise StateError("the target is closed", hint="Make a new one.")
        return self._compute.begin()

    # One job

    def _result(self, running: _Running) -> JobResult:
        """Return what comes of a job, perhaps of one that an earlier process has submitted."""
        task = self._describer.described(running.job.task)
        job = replace(running.job, task=task)
        study = str(task.study) if isinstance(task, Build) and task.study is not None else None
        limits: Json = [job.limits.seconds, job.limits.memory]
        # A job that ran with another image, code or permission is not the one that is asked for.
        place: Json = [self._compute.key, self._permissions.network]
        known: Json = [identity_of(task.to_json()), place]
        runner = self._compute.runner
        while True:
            claim = self._records.claim(known, limits, study)
            try:
                ended = runner.carry_out(claim, job, running.cancelled, job.on_progress)
            except JobCancelledError:
                runner.give_up(claim)
                raise
            except ParetuneError:
                claim.leave()  # the job runs on: the next search finds it
                raise
            except BaseException:  # of who receives the progress, or a bug of ours
                runner.give_up(claim)
                raise
            if isinstance(task, Build) and ended.result is not None:
                self._taking[running.future] = claim
            else:
                claim.done()
            result = self._read(job, claim, ended, running)
            try:
                check_files(task, result, self._files, self._workspace)
            except InputChangedError:
                self._taking.pop(running.future, None)
                claim.done()
                raise
            others = claim.found and claim.limits != limits
            if others and result.status in (JobStatus.TIMEOUT, JobStatus.OUT_OF_MEMORY):
                claim.done()
                continue  # an earlier search allowed it less
            return result

    def _read(self, job: Job, claim: Claim, ended: Ended, running: _Running) -> JobResult:
        """Return the result of a job that has ended in Azure."""
        state, said = ended.state, ended.result
        if running.cancelled.is_set():
            return JobResult(JobStatus.CANCELLED, None, "cancelled")
        if ended.unreadable is not None:
            return answers.unreadable(self.name, ended.unreadable)
        if said is None:
            what = f"the job {claim.name} {state.status.lower()} in Azure without a result"
            why = state.reason or (ended.log.tail().splitlines() or [""])[-1]
            reason = f"{what}: {why}" if why else what
            lost = None
            if state.status == "Failed" and not ended.log.began and ended.log.unread is None:
                # Quota, the image or its node: no candidate is the cause.
                lost = ConnectionLostError(reason, hint=_DID_NOT_BEGIN)
            return JobResult(JobStatus.CRASHED, None, reason, transient=True, lost=lost)
        if ended.described is not None and isinstance(job.task, Measure | Smoke):
            self._compute.compare(ended.described.device)
        result = answers.result_of(job, said, self.name, cancelled=False)
        if isinstance(result.value, BuildResult):
            built = result.value
            made = [file.sha256 for step in built.made for file in step.files]
            made += [file.sha256 for file in built.model.files or ()]
            self._files.made_by(claim.name, made)
        return result
