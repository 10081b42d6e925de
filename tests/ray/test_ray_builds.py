"""Studies whose builds run on the hosts of a Ray cluster: two nodes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_study import search, write_fake_study

from paretune.core.jsontools import read_json
from paretune.core.target import machines_of
from paretune.models.handle import folder_digest
from paretune.store.artifacts import Store
from paretune.targets.launchers.local import LocalTarget
from paretune.targets.launchers.ray import RayTarget
from paretune.targets.pool import Builder
from paretune.targets.split import SplitTarget
from tests.ray.conftest import Opens
from tests.ray.nodes import Cluster
from tests.targets.test_far_builds import told

pytestmark = pytest.mark.ray
_WITHIN_S = 120.0
ONE_BY_ONE = {"strategy": "exhaustive", "builds": 1}


def study(folder: Path, target: RayTarget | None = None, **config: Any) -> Any:
    """Search a small study; builds run on the cluster, measurements here.

    They run one after another if a host is to be killed, so that they run on the first one.
    """
    file = write_fake_study(folder, {"x": [1, 2], "speed": [5.0, 7.0]}, **config)
    here = LocalTarget(folder / "store")
    found = search(file, target=here if target is None else SplitTarget(target, here))
    return read_json(found.study / "results.json")


def wait_until(there: Callable[[], Any], within_s: float = _WITHIN_S) -> None:
    end = time.monotonic() + within_s
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> None:
    """Require that processes end."""
    _, left = psutil.wait_procs(processes, _WITHIN_S)
    assert not left


@pytest.mark.parametrize("shared", [False, True], ids=["between hosts", "shared folder"])
def test_a_study_builds_on_the_cluster_and_measures_here_as_one_that_is_alone(
    cluster: Cluster, opened: Opens, tmp_path: Path, shared: bool
) -> None:
    alone = study(tmp_path / "alone")
    folder = tmp_path / "shared"
    folder.mkdir()
    far = opened(shared=str(folder) if shared else None)
    assert far.build_slots == 2
    workers = far.members
    assert [worker.name for worker in workers] == ["cluster/127.0.0.2", "cluster/127.0.0.3"]
    assert len(machines_of(far)) == 1, "both hosts are this machine"
    started = [node.agents() for node in cluster.nodes.values()]
    assert all(started)
    here = tmp_path / "here"
    results = study(here, far)
    assert told(results) == told(alone)
    for each in started:
        gone(each)
    near, other = Store(here / "store"), Store(tmp_path / "alone" / "store")
    assert near.objects() == other.objects()
    assert {a.key: a.digest for a in near.actions()} == {a.key: a.digest for a in other.actions()}
    for name in near.objects():
        assert folder_digest(near.object_path(name)) == name
    assert {bool(worker.transport.fetched) for worker in workers} == {True}
    assert not list(folder.iterdir())


class Meeting:
    """A build that goes on until the test ends it (the pass `meet`), on the first host."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.begun = Path(f"{self.journal}.begun")

    def passes(self) -> list[Any]:
        return [{"meet": {"x": 1, "journal": str(self.journal)}}]

    def wait(self) -> None:
        """Wait until the build is in progress."""
        wait_until((self.begun / "1").exists)

    def end(self) -> None:
        """Let the build end, wherever it runs now."""
        (self.begun / "7").touch()


def killed(meeting: Meeting, kill: Callable[[], None]) -> Future[None]:
    """Kill something while the build runs, then let it end."""

    def run() -> None:
        meeting.wait()
        try:
            kill()
        finally:
            meeting.end()

    thread = ThreadPoolExecutor(1)
    done = thread.submit(run)
    thread.shutdown(wait=False)
    return done


def all_built(results: Any) -> bool:
    """Return whether each candidate was built, in its first try."""
    steps = [step["step"] for row in results["candidates"] for step in row["seconds"]]
    outcomes = {row["outcome"] for row in results["candidates"]}
    return outcomes == {"ok"} and not {"build:crashed", "build:failed"} & {*steps}


def test_a_killed_node_loses_what_ran_there_and_its_jobs_go_elsewhere(
    cluster: Cluster, opened: Opens, tmp_path: Path
) -> None:
    meeting, far = Meeting(tmp_path), opened()
    lost: list[psutil.Process] = []

    def kill() -> None:
        lost.extend(cluster.nodes["127.0.0.2"].agents())
        cluster.nodes["127.0.0.2"].kill()
        wait_until(lambda: builders()[0].lost)
        gone(lost)
        cluster.start("127.0.0.2", resources={"one": 1})
        wait_until(lambda: not builders()[0].lost)
        assert cluster.nodes["127.0.0.2"].agents(), "a node that is there again gets jobs"
        assert not builders()[1].lost

    def builders() -> Sequence[Builder]:
        return far._pool.builders

    done = killed(meeting, kill)
    results = study(tmp_path / "here", far, passes=meeting.passes(), search=ONE_BY_ONE)
    done.result(_WITHIN_S)
    assert len(lost) > 1, "an agent and its job"
    assert all_built(results)


def test_the_children_of_a_killed_actor_end_and_its_jobs_go_elsewhere(
    cluster: Cluster, opened: Opens, tmp_path: Path
) -> None:
    meeting, far = Meeting(tmp_path), opened()
    lost: list[psutil.Process] = []

    def kill() -> None:
        lost.extend(cluster.nodes["127.0.0.2"].agents())
        actor = lost[0].parent()
        assert actor is not None
        assert "HostWorker" in " ".join(actor.cmdline())
        actor.kill()

    done = killed(meeting, kill)
    results = study(tmp_path / "here", far, passes=meeting.passes(), search=ONE_BY_ONE)
    done.result(_WITHIN_S)
    assert len(lost) > 1, "an agent and its job"
    gone(lost)
    assert all_built(results)


def test_a_silent_host_is_given_up(cluster: Cluster, opened: Opens, tmp_path: Path) -> None:
    meeting, far = Meeting(tmp_path), opened(silent_s=3.0)
    stopped: list[psutil.Process] = []

    def stop() -> None:
        found = cluster.nodes["127.0.0.2"].agents()
        actor = found[0].parent()
        assert actor is not None
        actor.suspend()
        stopped.extend([actor, *found])
        wait_until(lambda: far._pool.builders[0].lost)

    done = killed(meeting, stop)
    results = study(tmp_path / "here", far, passes=meeting.passes(), search=ONE_BY_ONE)
    done.result(_WITHIN_S)
    assert all_built(results)
    if stopped[0].is_running():
        stopped[0].resume()
    gone(stopped)
