"""A step that two builds share is made by one builder; the other build waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from fake_study import write_stub_model
from slow_target import SlowTarget

from paretune.core.candidate import Step
from paretune.core.job import Build, Job, JobResult, JobStatus
from paretune.core.machines import Machines
from paretune.core.progress import Progress
from paretune.core.target import Target
from paretune.models.handle import open_model
from paretune.store.artifacts import Store
from paretune.targets.launchers.installed import InstalledTarget
from paretune.targets.pool import Builder, BuildPool
from paretune.targets.shared_steps import in_common
from paretune.targets.transports.host_files import HostTransport
from tests.targets.far_sides import OneHost
from tests.targets.test_far_builds import interpreter
from tests.targets.two_stores import DATA

_WITHIN_S = 120.0


class Two:
    """Two builders with stores of their own, and builds that share a first step.

    The step goes on until the test ends it.

    Attributes:
        noted: Set when a build says that it waits for a step.
        ran: Where each build began, in order.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.journal = folder, folder / "journal"
        self.near = folder / "near"
        self.model = open_model(write_stub_model(folder / "model"))
        self.noted = threading.Event()
        self.ran: list[tuple[Target, Future[JobResult]]] = []
        python = interpreter(folder / "python")
        self.builders = []
        for name in ("one", "other"):
            host = OneHost(name)
            target = InstalledTarget(
                name,
                host,
                HostTransport(host),
                python=str(python),
                store=str(folder / name),
            )
            self.builders.append(Builder(stack.enter_context(target)))
        self.pool = BuildPool(self.builders, Machines())
        stack.callback(self.pool.close)
        self._threads = stack.enter_context(ThreadPoolExecutor(2))

    def job(self, second: int) -> Job:
        """Return a build of the shared step and a second one."""
        steps = (
            Step("meet", {"x": 1, "journal": str(self.journal)}),
            Step("noop", {"x": second}),
        )
        task = Build(model=self.model, recipe=steps, provider="cpu", store=self.near, data=DATA)
        return Job(task, on_progress=self._heard)

    def begin(self, job: Job) -> Future[JobResult]:
        """Give the pool a job."""
        return self._threads.submit(
            self.pool.run, job, "x", lambda: False, lambda *began: self.ran.append(began)
        )

    def wait_for_the_step(self) -> None:
        """Wait until the shared step is in progress."""
        end = time.monotonic() + _WITHIN_S
        while not self._begun("1").exists():
            assert time.monotonic() < end
            time.sleep(0.01)

    def end_the_step(self) -> None:
        """Let the shared step end."""
        self._begun("7").touch()

    def times_made(self) -> int:
        """Return how often the shared step has run to its end."""
        return len(self.journal.read_text().splitlines())

    def _begun(self, name: str) -> Path:
        return Path(f"{self.journal}.begun") / name

    def _heard(self, progress: Progress) -> None:
        if progress.note.startswith("waits for a step that one makes"):
            self.noted.set()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(tmp_path, stack)


def test_a_build_waits_for_the_step_that_another_builder_makes(two: Two) -> None:
    first = two.begin(two.job(2))
    two.wait_for_the_step()
    second = two.begin(two.job(3))
    assert two.noted.wait(_WITHIN_S)
    assert len(two.ran) == 1, "the other builder is free, and is not used"
    two.end_the_step()
    made, then = first.result(_WITHIN_S), second.result(_WITHIN_S)
    assert [made.status, then.status] == [JobStatus.OK] * 2, (made.reason, then.reason)
    assert two.times_made() == 1
    assert [step.cached for step in made.value.steps] == [False, False]
    assert [step.cached for step in then.value.steps] == [True, False]
    assert len(Store(two.near).actions()) == 3


def test_where_the_step_does_not_come_about_the_build_that_waits_makes_it(two: Two) -> None:
    first = two.begin(two.job(2))
    two.wait_for_the_step()
    second = two.begin(two.job(3))
    assert two.noted.wait(_WITHIN_S)
    target, running = two.ran[0]
    assert isinstance(target, InstalledTarget)
    target.cancel(running)
    assert first.result(_WITHIN_S).status is JobStatus.CANCELLED
    two.end_the_step()
    then = second.result(_WITHIN_S)
    assert then.status is JobStatus.OK, then.reason
    assert [step.cached for step in then.value.steps] == [False, False]


class Stored(SlowTarget):
    """A builder that says where its store is."""

    def __init__(self, name: str, store: Path | None) -> None:
        super().__init__(name, "one")
        self.store = store


def begin(pool: BuildPool, job: Job) -> Future[JobResult]:
    future: Future[JobResult] = Future()

    def run() -> None:
        future.set_result(pool.run(job, "x", lambda: False, lambda *began: None))

    threading.Thread(target=run, daemon=True).start()
    return future


def build(folder: Path, *steps: int) -> Job:
    place = folder / "model"
    model = open_model(place if place.exists() else write_stub_model(place))
    recipe = tuple(Step("noop", {"x": x}) for x in steps)
    store = folder / "near"
    return Job(Build(model=model, recipe=recipe, provider="cpu", store=store, data=DATA))


@pytest.mark.parametrize(
    ("stores", "second"),
    [
        (("a", "b"), (2, 3)),  # another step
        (("a", "a"), (1, 3)),  # its locks decide
        ((None, None), (1, 3)),
    ],
)
def test_builds_that_need_not_wait_use_the_free_builder(
    tmp_path: Path, stores: tuple[str | None, str | None], second: tuple[int, int]
) -> None:
    places = [None if name is None else tmp_path / name for name in stores]
    one, other = Stored("one", places[0]), Stored("other", places[1])
    pool = BuildPool([Builder(one), Builder(other)], Machines())
    futures = [begin(pool, build(tmp_path, 1, 2))]
    one.started(1)
    futures.append(begin(pool, build(tmp_path, *second)))
    other.started(1)
    for target in (one, other):
        target.end()
    assert {future.result(_WITHIN_S).value for future in futures} == {"one", "other"}


def test_a_build_goes_to_a_free_slot_of_the_builder_that_makes_its_step(tmp_path: Path) -> None:
    one, other = Stored("one", tmp_path / "a"), Stored("other", tmp_path / "b")
    pool = BuildPool([Builder(one, 2), Builder(other)], Machines())
    futures = [begin(pool, build(tmp_path, 1, 2))]
    one.started(1)
    futures.append(begin(pool, build(tmp_path, 1, 3)))
    one.started(2)
    one.end()
    one.end()
    assert [future.result(_WITHIN_S).value for future in futures] == ["one", "one"]
    assert not other.jobs


def test_what_two_builds_have_in_common(tmp_path: Path) -> None:
    one = build(tmp_path, 1, 2, 3).task
    assert isinstance(one, Build)
    assert in_common(one, one) == 3
    assert in_common(one, replace(one, recipe=one.recipe[:2])) == 2
    assert in_common(one, replace(one, recipe=one.recipe[1:])) == 0
    assert in_common(one, replace(one, provider="cuda")) == 0
