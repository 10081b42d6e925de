"""The far side of a transport: it asks for the files of a task that are not there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property

from paretune.core.errors import ParetuneError, TransientError
from paretune.core.job import Build, Task
from paretune.core.made import Made
from paretune.store.artifacts import Store
from paretune.targets.transports.budget import Freed, make_room
from paretune.targets.transports.files import FileStore
from paretune.targets.transports.tasks import files_of, localized
from paretune.targets.worker.seeds import without_known


class CancelledError(ParetuneError):
    """The job was cancelled while its files were on their way."""


class Arrivals:
    """Waits for the files of tasks.

    Args:
        store: Where they arrive.
        ask: Asks the parent for the files of a job, by digest.
        budget: Bytes that the store may have; None: as many as the disk.
        freed: Receives, for each job that needed room, what was removed.
    """

    def __init__(
        self,
        store: FileStore,
        ask: Callable[[int, Sequence[str]], None],
        budget: int | None = None,
        freed: Callable[[int, Freed], None] = lambda id, freed: None,
    ) -> None:
        self._store, self._ask = store, ask
        self._budget, self._freed = budget, freed
        self._removing = threading.Lock()
        self._wanted: dict[int, frozenset[str]] = {}
        self._lock = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[ParetuneError | None]] = {}

    @cached_property
    def _artifacts(self) -> Store:
        return Store(self._store.root)

    def expect(self, id: int) -> None:
        """Note that `fetch` will be called for a job: from now on it can be cancelled."""
        with self._lock:
            self._waiting[id] = queue.SimpleQueue()

    def fetch(self, id: int, task: Task, stack: ExitStack) -> Task:
        """Return a task with paths of this machine, once all of its files are there.

        Args:
            id: The job's number, as given to `expect`.
            task: As the parent sent it.
            stack: Removes the job's folder when it is closed.

        Raises:
            TransientError: They did not arrive.
            CancelledError: The job was cancelled meanwhile.
            UsageError: A name leads out of its folder.
        """
        with self._lock:
            answer = self._waiting[id]
        if isinstance(task, Build):
            task = without_known(task, self._artifacts)
        files = files_of(task)
        with self._lock:
            self._wanted[id] = frozenset(files)
        missing = self._store.missing(files)
        if missing:
            freed = self._make_room(sum(files[each].stamp.size for each in missing))
            if freed.items:
                self._freed(id, freed)
            self._ask(id, missing)
            failed = answer.get()
            if failed is not None:
                raise failed
            left = self._store.missing(missing)
            if left:
                raise TransientError(f"{len(left)} of {len(missing)} files did not arrive")
        return stack.enter_context(localized(task, self._store))

    def keep(self, made: Sequence[Made]) -> None:
        """Keep what a build has made as files, for the parent and for jobs that use it here.

        Raises:
            TransientError: A file is gone.
        """
        for step in made:
            for file in step.files:
                self._store.adopt(file.path, file.sha256)
        self._make_room(0, {file.sha256 for step in made for file in step.files})

    def _make_room(self, wanted: int, keep: Iterable[str] = ()) -> Freed:
        with self._removing:
            with self._lock:
                kept = frozenset(keep).union(*self._wanted.values())
            return make_room(self._store, self._budget, wanted, kept)

    def forget(self, id: int) -> bool:
        """Forget a job that was started; returns whether it was cancelled before."""
        with self._lock:
            answer = self._waiting.pop(id)
            self._wanted.pop(id, None)
        return not answer.empty()

    def have(self, id: int, reason: str | None) -> None:
        """Take the parent's answer: the files are there, or the reason why they are not."""
        self._answer(id, None if reason is None else TransientError(reason))

    def cancel(self, id: int | None) -> None:
        """Cancel a job that waits for its files; None: all that wait."""
        with self._lock:
            waiting = list(self._waiting)
        for each in waiting if id is None else [id]:
            self._answer(each, CancelledError("cancelled"))

    def _answer(self, id: int, answer: ParetuneError | None) -> None:
        with self._lock:
            waiting = self._waiting.get(id)
        if waiting is not None:
            waiting.put(answer)
