"""A target over ssh: what it installs and moves, and what becomes of a lost connection."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from local_jobs import gone, wait_for

import paretune
from paretune.core.candidate import RuntimeSettings
from paretune.core.job import Call, Job, JobStatus, Measure, Smoke
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.core.stamps import file_digest
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.targets.launchers.ssh import SshTarget
from tests.core.test_machine_lock import Holder
from tests.onnx_networks import write_network
from tests.targets.sshd import Sshd

JOBS = "paretune.testing.jobs"
_WIDTH = 20_000


def package(folder: Path, threads: int = 1) -> Model:
    """Write a plain ONNX network and lay it out; its weights are larger than 1 MiB."""
    if not (folder / "network").is_dir():
        write_network(folder / "network", width=_WIDTH)
    runtime = RuntimeSettings("cpu", threads)
    place = folder / f"package-{threads}"
    return lay_out(open_model(folder / "network"), runtime, place, link=True)


def measure(model: Model, threads: int = 1) -> Job:
    params = {"shapes": {"x": [1, _WIDTH]}}
    runtime = RuntimeSettings("cpu", threads)
    data = {"specs": {}, "root": str(model.path), "allow_network": False}
    return Job(
        Measure(
            model=model,
            runtime=runtime,
            evaluator="latency",
            params=params,
            rung=Rung.ROUGH,
            data=data,
        )
    )


def test_it_installs_this_paretune_once_and_says_what_it_is(
    sshd: Sshd, opened: Callable[..., SshTarget]
) -> None:
    target = opened()
    info = target.info()
    assert info.name == "board"
    assert info.packages["onnxruntime"]
    assert target.describe().version == paretune.__version__
    (installed,) = (sshd.home / ".cache" / "paretune" / "paretune").iterdir()
    assert (installed / "paretune" / "targets" / "agent.py").is_file()
    call = Job(Call("os:getenv", {"key": "PYTHONPATH"}))
    assert target.submit(call).result(300).value == str(installed)
    written = installed.stat().st_mtime_ns
    assert opened().info().fingerprint == info.fingerprint
    assert installed.stat().st_mtime_ns == written
    assert len(list(installed.parent.iterdir())) == 1


def test_a_package_is_measured_there_and_moves_once(
    sshd: Sshd, opened: Callable[..., SshTarget], tmp_path: Path
) -> None:
    target = opened(store=str(tmp_path / "far"))
    model = package(tmp_path)
    files = len(model.parts)
    size = sum(path.stat().st_size for path in model.parts)
    for _ in range(2):
        runtime = RuntimeSettings("cpu", 1)
        result = target.submit(Job(Smoke(model=model, runtime=runtime))).result(300)
        assert result.status is JobStatus.OK, result.reason
        measured = target.submit(measure(model)).result(300)
        assert measured.status is JobStatus.OK, measured.reason
        assert measured.value[0].value > 0
        assert measured.interference is not None
    assert (target.transport.files, target.transport.bytes) == (files, size)
    other = target.submit(measure(package(tmp_path, 2), 2)).result(300)
    assert other.status is JobStatus.OK, other.reason
    assert target.transport.bytes < 1.1 * size, "the weights have moved before"
    again = opened(store=str(tmp_path / "far"))
    assert again.submit(measure(model)).result(300).status is JobStatus.OK
    assert again.transport.files == 0, "it is there since the last connection"
    assert not list((tmp_path / "far" / "staging").glob("*/model")), "a job's folder stayed behind"


def test_a_measurement_there_waits_for_one_of_another_process_there(
    sshd: Sshd, opened: Callable[..., SshTarget], tmp_path: Path
) -> None:
    said: queue.SimpleQueue[Progress] = queue.SimpleQueue()
    job = replace(measure(package(tmp_path)), on_progress=said.put)
    target = opened(store=str(tmp_path / "far"))
    target.info()
    holder = Holder(sshd.home / "machine", "alone")
    try:
        future = target.submit(job)
        while not (waits := said.get(timeout=300)).waits:
            pass
        assert f"process {holder.process.pid} measures on it" in waits.note
        assert not future.done()
    finally:
        holder.leave()
    result = future.result(300)
    assert result.status is JobStatus.OK, result.reason
    assert result.waited > 0


@pytest.mark.parametrize("change", ["gone there", "changed there", "another digest here"])
def test_a_file_that_is_not_what_is_known_of_it_is_sent_anew(
    sshd: Sshd, opened: Callable[..., SshTarget], tmp_path: Path, change: str
) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    target = opened(store_root=near, store=str(far))
    model = package(tmp_path)
    assert target.submit(measure(model)).result(300).status is JobStatus.OK
    sent = target.transport.bytes
    large = max((far / "files").iterdir(), key=lambda file: file.stat().st_size)
    tries = 1
    if change == "gone there":
        large.unlink()
    elif change == "changed there":
        large.chmod(0o644)
        large.write_bytes(bytes(large.stat().st_size))
    else:
        large.unlink()
        (record,) = (near / "digests").iterdir()
        record.write_text(record.read_text().replace(large.name, "0" * 64))
        target, sent = opened(store_root=near, store=str(far)), 0
        tries = 2
        failed = target.submit(measure(model)).result(300)
        assert (failed.status, failed.transient) == (JobStatus.FAILED, True)
        assert "another content than was announced (000000000000)" in str(failed.reason)
        wait_until(lambda: not record.exists())
    result = target.submit(measure(model)).result(300)
    assert result.status is JobStatus.OK, result.reason
    assert file_digest(large) == large.name
    size = large.stat().st_size
    assert target.transport.bytes >= sent + size
    assert target.transport.bytes < sent + (tries + 0.1) * size, "the others are there"


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_lost_connection_is_transient_and_the_next_job_connects_again(
    sshd: Sshd, opened: Callable[..., SshTarget], tmp_path: Path
) -> None:
    target = opened()
    target.info()
    started = tmp_path / "started"
    shell = ["sh", "-c", f"echo $$ > {started}.part; mv {started}.part {started}; sleep 600"]
    future = target.submit(Job(Call("subprocess:call", {"args": shell})))
    pid = int(wait_for(started))
    assert not future.done()
    sshd.cut()
    lost = future.result(300)
    assert (lost.status, lost.transient) == (JobStatus.CRASHED, True)
    assert "connection to board was lost" in (lost.reason or "")
    again = target.submit(Job(Call(f"{JOBS}:add", {"a": 1, "b": 2}))).result(300)
    assert again.value == 3
    assert gone(pid)


def test_a_host_that_stays_away_after_it_was_reached_is_transient(
    sshd: Sshd, opened: Callable[..., SshTarget]
) -> None:
    target = opened()
    target.info()
    allowed = sshd.folder / "authorized"
    key = allowed.read_text()
    allowed.write_text("")
    try:
        sshd.cut()
        job = Job(Call(f"{JOBS}:add", {"a": 1, "b": 2}))
        results = [target.submit(job).result(300) for _ in range(2)]
        assert all(result.transient for result in results)
        assert "refuses this user's key" in (results[-1].reason or "")
    finally:
        allowed.write_text(key)
    assert target.submit(job).result(300).value == 3


def test_a_job_that_is_cancelled_while_it_runs(
    opened: Callable[..., SshTarget],
) -> None:
    target = opened()
    future = target.submit(Job(Call(f"{JOBS}:sleep", {"seconds": 600.0})))
    target.cancel()
    assert future.result(300).status is JobStatus.CANCELLED
