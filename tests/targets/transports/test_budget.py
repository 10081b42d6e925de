"""The store of a far side stays within a size, and keeps what is in use."""

from __future__ import annotations

import io
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.core import protocol
from paretune.core.job import Build, JobResult, JobStatus, Limits
from paretune.core.stamps import Stamped, take
from paretune.store import gc
from paretune.store.artifacts import Store
from paretune.targets.agent import Agent
from paretune.targets.transports import budget
from paretune.targets.transports.arrivals import Arrivals
from paretune.targets.transports.budget import Freed, make_room
from paretune.targets.transports.files import FileStore, send
from paretune.targets.transports.tasks import Describer, files_of
from tests.targets.two_stores import two_stores

KB = 1000


def arrived(store: FileStore, folder: Path, *kilobytes: int) -> list[Stamped]:
    """Let files of some sizes arrive, one after another; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, size in enumerate(kilobytes):
        (folder / f"{number}").write_bytes(os.urandom(size * KB))
        stream = io.BytesIO()
        found.append(take(folder / f"{number}"))
        send(found[-1:], stream)
        stream.seek(0)
        store.receive(stream)
        time.sleep(0.02)  # so that the times of their inodes differ
    return found


def there(store: FileStore, files: list[Stamped]) -> list[int]:
    missing = store.missing([file.sha256 for file in files])
    return [number for number, file in enumerate(files) if file.sha256 not in missing]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "far")
    files = arrived(store, tmp_path / "near", 30, 20, 10)
    assert make_room(store, 70 * KB, 10 * KB) == Freed(0, 0, 60 * KB)
    store.lay_out({"x": files[0].sha256}, tmp_path / "job")  # the first is used again
    assert make_room(store, 50 * KB, 10 * KB) == Freed(20 * KB, 1, 40 * KB)
    assert there(store, files) == [0, 2]
    assert make_room(store, 35 * KB, 0, keep=[files[2].sha256]) == Freed(30 * KB, 1, 10 * KB)
    assert there(store, files) == [2]
    assert make_room(store, 0, 10**9, keep=[files[2].sha256]).items == 0
    assert (tmp_path / "job" / "x").stat().st_size == 30 * KB


def test_a_file_and_its_artifact_free_their_bytes_together(tmp_path: Path) -> None:
    sides = two_stores(tmp_path)
    sides.task = replace(sides.task, recipe=sides.task.recipe[:1])
    large = sides.folder / "model" / "large.json"
    large.write_text('"' + "x" * (2 << 20) + '"')
    sides.task = replace(sides.task, model=replace(sides.task.model, files=None))
    value = sides.built()
    (made,) = value.made
    name = next(file.sha256 for file in made.files if file.stamp.size > 1 << 20)
    store = FileStore(tmp_path / "far")
    artifact = Store(tmp_path / "far").object_path(made.digest)
    store.discard([name])
    store.adopt(artifact / "large.json", name)
    assert store.path(name).samefile(artifact / "large.json")
    before = make_room(store, 10**9, 0).left
    assert 2 << 20 < before < 3 << 20, "a file with two names counts once"
    freed = make_room(store, 0, 0)
    assert (freed.bytes, freed.left) == (before, 0)
    assert not artifact.exists()
    assert not any((tmp_path / "far" / "actions").iterdir())
    assert value.model.digest == sides.built().model.digest, "it is built again"


def test_what_a_job_or_a_study_of_that_machine_uses_stays(tmp_path: Path) -> None:
    sides = two_stores(tmp_path)
    value = sides.built()
    far, study = tmp_path / "far", tmp_path / "study"
    study.mkdir()
    with Store(far).lock_object(value.made[1].digest):
        Store(far, study).hold(value.made[1].digest)
    make_room(FileStore(far), 0, 0)
    assert Store(far).objects() == [value.made[1].digest]
    gc.forget(Store(far), study)
    make_room(FileStore(far), 0, 0)
    assert Store(far).objects() == []


def test_what_a_killed_job_held_is_removed(tmp_path: Path) -> None:
    sides = two_stores(tmp_path)
    value = sides.built()
    far, job = tmp_path / "far", tmp_path / "far" / "staging" / "job"
    job.mkdir()
    Store(far, job).hold(value.made[1].digest)
    job.rmdir()  # the next agent sweeps it
    make_room(FileStore(far), 0, 0)
    assert Store(far).objects() == []


def test_what_a_killed_rsync_left_counts_and_is_removed(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "far")
    (tmp_path / "far" / "incoming").mkdir()
    left, written = (
        tmp_path / "far" / "incoming" / f".{'0' * 64}.{name}" for name in ("aB3xY1", "aB3xY2")
    )
    for path in (left, written):
        path.write_bytes(b"x" * KB)
    os.utime(left, (1.0, 1.0))
    assert make_room(store, 0, 0) == Freed(KB, 1, 0)
    assert (left.exists(), written.exists()) == (False, True)


def test_a_build_there_holds_what_it_uses_until_it_ends(tmp_path: Path) -> None:
    sides = two_stores(tmp_path)
    first = sides.built()
    arrivals = Arrivals(FileStore(tmp_path / "far"), lambda id, digests: None, budget=0)
    task = Describer().described(replace(sides.task, seeds=()))
    stream = io.BytesIO()
    send(files_of(task).values(), stream)
    stream.seek(0)
    FileStore(tmp_path / "far").receive(stream)
    arrivals.expect(1)
    with ExitStack() as stack:
        there = arrivals.fetch(1, task, stack)
        assert isinstance(there, Build)
        assert there.study is not None
        Store(there.store, there.study).hold(first.made[0].digest)
        make_room(FileStore(tmp_path / "far"), 0, 0)
        assert Store(tmp_path / "far").objects() == [first.made[0].digest]
    assert not any((tmp_path / "far" / "held").iterdir())
    make_room(FileStore(tmp_path / "far"), 0, 0)
    assert Store(tmp_path / "far").objects() == []


def test_a_job_that_needs_room_is_told_of_what_was_removed(tmp_path: Path) -> None:
    sides = two_stores(tmp_path)
    store = FileStore(tmp_path / "far")
    old = arrived(store, tmp_path / "old", 30, 20)
    asked, told = list[int](), list[tuple[int, Freed]]()

    def ask(id: int, digests: object) -> None:
        asked.append(id)
        arrivals.have(id, "nothing is sent")

    arrivals = Arrivals(store, ask, 25 * KB, lambda id, freed: told.append((id, freed)))
    arrivals.expect(7)
    task = Describer().described(sides.task)
    with pytest.raises(Exception, match="nothing is sent"), ExitStack() as stack:
        arrivals.fetch(7, task, stack)
    ((id, freed),) = told
    assert (id, freed.items, freed.bytes) == (7, 1, 30 * KB)
    assert asked == [7]
    assert there(store, old) == [1]


class Failing:
    """Arrivals whose store cannot be read."""

    def fetch(self, *given: object) -> None:
        raise ValueError("a record of it is damaged")

    def keep(self, made: object) -> None:
        raise ValueError("a record of it is damaged")

    def forget(self, id: int) -> bool:
        return False


def test_a_store_that_cannot_be_read_is_a_result_that_the_parent_gets(tmp_path: Path) -> None:
    sides, said = two_stores(tmp_path), io.BytesIO()
    agent = Agent(io.BytesIO(), said)
    agent._arrivals = Failing()  # type: ignore[assignment]
    result = agent._kept(JobResult(JobStatus.OK, sides.built()))
    assert (result.status, result.transient) == (JobStatus.FAILED, True)
    assert "record of it is damaged" in str(result.reason)
    task = Describer().described(replace(sides.task, seeds=())).to_json()
    agent._run(protocol.Run(3, task, Limits()))
    told = protocol.read(said.getvalue())
    assert isinstance(told, protocol.Result)
    assert (told.id, told.status) == (3, JobStatus.FAILED)
    assert told.reason == "ValueError: a record of it is damaged"


def test_a_full_disk_needs_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / "far")
    files = arrived(store, tmp_path / "near", 30, 20)
    assert make_room(store, None, 0) == Freed()
    usage = budget.shutil.disk_usage(tmp_path)
    full = usage._replace(free=budget._LEAVES_FREE + 5 * KB)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda place: full)
    assert make_room(store, None, 25 * KB).bytes == 30 * KB
    assert there(store, files) == [1]
