"""Builds that a far side runs, with their results in the store of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import Timeout

from paretune.core.errors import (
    ConnectionLostError,
    InvalidArtifactError,
    ParetuneError,
    StateError,
    TargetLostError,
    TransientError,
)
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus
from paretune.core.jsontools import digest
from paretune.core.made import Made
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.core.stamps import joint_digest
from paretune.store.artifacts import Store
from paretune.targets.launchers.channel import Fetches, Waits
from paretune.targets.transports.builds import KeyInUseError, taken_over
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.tasks import Describer
from paretune.targets.worker.stored import LastCatalog, found

_LOOKS_EVERY_S = 0.1


@dataclass
class _Running:
    """A build that the far side runs, or whose artifacts are on their way."""

    there: Future[JobResult]
    here: Future[JobResult]
    cancelled: bool = False
    fetching: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set with `cancelled`: it wakes what waits for the far side."""


class FarBuilds:
    """Runs the builds of a target whose interpreter is another one.

    Args:
        name: The target's name.
        submit: Runs a job on the far side.
        describer: Gives files their digests.
        transport: Brings files back; None: the far side uses the store of this machine.

    Attributes:
        moving: Gives the context in which artifacts are received and checked on this machine; it
            may wait until nothing is measured here.
    """

    def __init__(
        self,
        name: str,
        submit: Callable[[Job], Future[JobResult]],
        describer: Describer,
        transport: Fetches | None,
    ) -> None:
        self._name, self._submit = name, submit
        self._describer, self._transport = describer, transport
        self._lock = threading.Lock()
        self._receiving = threading.Lock()
        self._running: dict[Future[JobResult], _Running] = {}
        self._files: dict[Path, FileStore] = {}
        self._here: dict[str, Path] = {}
        self._catalog = LastCatalog()
        self.moving: Callable[[], AbstractContextManager[object]] = nullcontext

    def submit(self, job: Job) -> Future[JobResult]:
        """Run a build there, unless all of it lies here; the result's model lies here.

        Raises:
            UsageError: No agent answers there, or one of another version, and none ever did.
            StateError: The target is closed.
        """
        task = job.task
        assert isinstance(task, Build)
        store = Store(task.store, task.study)
        try:
            result, made = found(task, store, self._catalog.of(task))
        except InvalidArtifactError as error:
            return _ended(JobResult(JobStatus.INVALID, None, str(error), limits=job.limits))
        if result is not None:
            return _ended(JobResult(JobStatus.OK, result, limits=job.limits))
        if self._transport is not None:
            task = self._describer.described(replace(task, seeds=tuple(self._seeds(store, made))))
            assert isinstance(task, Build)
            self._here |= {file.sha256: file.path for file in task.model.files or ()}
        there = self._submit(replace(job, task=task))
        if there.done() and there.result().status is not JobStatus.OK:  # it could not be reached
            return there
        running = _Running(there, Future())
        running.here.set_running_or_notify_cancel()
        with self._lock:
            self._running[running.here] = running
        threading.Thread(target=self._await, args=(job, running), daemon=True).start()
        return running.here

    def there(self, future: Future[JobResult]) -> Future[JobResult]:
        """Return the future of the job on the far side that a build waits for; else the same."""
        with self._lock:
            running = self._running.get(future)
        return future if running is None else running.there

    def cancel(self, future: Future[JobResult] | None = None) -> None:
        """End the receiving of a build's artifacts; None: of all."""
        with self._lock:
            chosen = [r for f, r in self._running.items() if future in (None, f)]
            for running in chosen:
                running.cancelled = True
                running.stopped.set()
            receives = any(running.fetching for running in chosen)
        if receives and self._transport is not None:
            self._transport.stop_fetching()

    def close(self) -> None:
        """Wait until no build waits for its artifacts."""
        self.cancel()
        with self._lock:
            left = list(self._running)
        for future in left:
            with suppress(BaseException):
                future.result()

    def _seeds(self, store: Store, made: list[tuple[str, Model]]) -> Iterator[Made]:
        """Yield what of the first steps lies here; a damaged one, and those after it, does not."""
        for key, model in made:
            action, files = store.action(key), self._describer.files_in(model.path, model.digest)
            if action is None or joint_digest(files) != model.digest:
                store.is_intact(model.digest)  # sets it aside
                return
            self._here |= {file.sha256: file.path for file in files}
            yield Made(key, model.digest, str(model.kind), action.note, files)

    def _await(self, job: Job, running: _Running) -> None:
        try:
            result = running.there.result()
            if result.status is JobStatus.OK:
                result = self._received(job, result, running)
        except BaseException as error:  # handed to whoever waits for the future
            self._forget(running)
            running.here.set_exception(error)
        else:
            self._forget(running)
            running.here.set_result(result)

    def _forget(self, running: _Running) -> None:
        with self._lock:
            del self._running[running.here]

    def _received(self, job: Job, result: JobResult, running: _Running) -> JobResult:
        """Return a result whose model lies in the store of this machine."""
        task, said = job.task, result.value
        assert isinstance(task, Build)
        assert isinstance(said, BuildResult)
        status, reason, transient = JobStatus.FAILED, "", True
        value: BuildResult | None = None
        if job.on_progress is not None and self._transport is not None:
            step = task.recipe[-1].name
            job.on_progress(Progress(step, 0, 0, f"receiving it from {self._name}"))
        try:
            store = Store(task.store, task.study)

            def receive() -> None:
                nonlocal value
                try:
                    self._begin(running)
                    fetch = None if self._transport is None else self._fetcher(task.store)
                    value = taken_over(task, said, store, self._catalog.of(task), fetch)
                finally:
                    running.fetching = False

            while value is None:
                try:
                    if isinstance(self._transport, Waits):  # and others may move files meanwhile
                        self._transport.wait_for(receive, running.stopped, self._alone)
                    else:
                        with self._alone():
                            receive()
                except KeyInUseError as error:
                    _wait_for(store, error.key, job, running)
            for made in value.made:  # not `said.made`: its names and digests may lead anywhere
                folder = store.object_path(made.digest)
                self._here |= {file.sha256: folder / file.name for file in made.files}
            return replace(result, value=replace(value, made=()))
        except InvalidArtifactError as error:
            status, reason, transient = JobStatus.INVALID, str(error), False
        except StateError:
            raise  # the store of this machine
        except (ParetuneError, OSError) as error:
            if isinstance(error, TargetLostError) and not isinstance(error, ConnectionLostError):
                raise  # no build can be received any more: the candidate is not the cause
            reason = f"what {self._name} built was not taken over: {error}"
        except Exception as error:  # whatever a wrong model makes the readers raise
            kind = type(error).__name__
            reason = f"what {self._name} built cannot be read: {kind}: {str(error)[:200]}"
        if running.cancelled:
            status, reason, transient = JobStatus.CANCELLED, "cancelled", False
        return replace(result, status=status, value=None, reason=reason, transient=transient)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Receive one build at a time, while nothing is measured here."""
        with self._receiving, self.moving():
            yield

    def _begin(self, running: _Running) -> None:
        with self._lock:
            if running.cancelled:
                raise ParetuneError("cancelled")
            running.fetching = True

    def _fetcher(self, root: Path) -> Callable[[Mapping[str, int]], FileStore]:
        """Return what brings files into a folder of a store that this target alone writes to."""
        assert self._transport is not None
        transport = self._transport
        if root not in self._files:
            own = digest(self._name).removeprefix("sha256:")[:16]
            self._files[root] = FileStore(root, f"arriving/{own}")
        files = self._files[root]

        def fetch(wanted: Mapping[str, int]) -> FileStore:
            for name in files.missing(wanted):
                if name in self._here:
                    with suppress(OSError, TransientError):  # else it is fetched
                        files.copy(self._here[name], name)
            transport.fetch(wanted, files)
            return files

        return fetch


def _wait_for(store: Store, key: str, job: Job, running: _Running) -> None:
    """Wait until no build holds a key, or until it is not wanted any more; others may move files.

    Args:
        store: Of this machine.
        key: The key of a step.
        job: Receives a sign of life.
        running: Whose artifacts are received.
    """
    if job.on_progress is not None:
        note = "waits for a step that another build makes here"
        job.on_progress(Progress(job.task.name, 0, 0, note))
    while not running.cancelled:
        with suppress(Timeout), store.lock(key, wait=False):
            return
        time.sleep(_LOOKS_EVERY_S)


def _ended(result: JobResult) -> Future[JobResult]:
    future: Future[JobResult] = Future()
    future.set_result(result)
    return future
