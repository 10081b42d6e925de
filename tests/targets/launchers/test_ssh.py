"""A target over ssh: what it installs and moves, and what becomes of a lost connection."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from local_jobs import gone, wait_for

import paretune
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.job import Call, Job, JobStatus, Measure, Smoke
from paretune.core.measurement import Rung
from paretune.core.model import Model
from paretune.core.progress import Progress
from paretune.core.stamps import Stamped, file_digest
from paretune.models.handle import open_model
from paretune.runtimes.package import lay_out
from paretune.study.results import read_results
from paretune.targets.launchers.ssh import SshTarget
from paretune.targets.transports.host_files import HostTransport
from tests.core.test_machine_lock import Holder
from tests.onnx_networks import write_network
from tests.targets.sshd import Sshd
from tests.tiny_models import make_tiny_llama

JOBS = "paretune.testing.jobs"
_WIDTH = 20_000


@pytest.fixture
def opened(sshd: Sshd) -> Iterator[Callable[..., SshTarget]]:
    """Makes targets on the host ``board`` that are closed at the end; no process stays behind."""
    before = set(psutil.Process().children(recursive=True))
    with ExitStack() as stack:

        def make(**options: Any) -> SshTarget:
            given = {"name": "board", "host": "board", "python": sys.executable, **options}
            made = SshTarget(**given)
            stack.callback(made.close)
            return made

        yield make
    left = [p for p in psutil.Process().children(recursive=True) if p not in before]
    _, stayed = psutil.wait_procs([p for p in left if _runs(p)], timeout=60)
    assert not stayed, "a process stayed behind"


def _runs(process: psutil.Process) -> bool:
    """Return whether a process is none of the sshd's own, and has not ended."""
    try:
        return "sshd" not in process.name()
    except psutil.NoSuchProcess:
        return False


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"python": "/nowhere/python"}, "there is no '/nowhere/python' on board"),
        ({"python": "/bin/echo"}, "is not a Python interpreter"),
        ({"python": "~/python"}, "there is no './python' on board(?s:.*)home folder there"),
        ({"python": "/"}, "'/' on board cannot be executed"),
        ({"python": "/bin/false"}, "'/bin/false' on board failed: exit status 1(?s:.*)`python:`"),
        ({"host": "board-stranger"}, "refuses this user's key"),
        ({"host": "board-unknown"}, "host key is unknown"),
        ({"host": "no-such-host.invalid"}, "does not find the host"),
        ({"store": "/proc/nowhere"}, "'/proc/nowhere' on board cannot be written: (?s:.*)`store:`"),
        ({"store": "/dev/null"}, "'/dev/null' on board cannot be written: File exists"),
        ({"store": "/dev/null/x"}, "'/dev/null/x' on board cannot be written: Not a directory"),
        ({"store": "~nobody-here/x"}, "~nobody-here/x' on board .*: there is no such user"),
    ],
)
def test_refusals_are_readable(
    opened: Callable[..., SshTarget], options: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        opened(**options).info()


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("before", ["~/", "", "{home}/"])
def test_paths_of_the_far_side_may_have_spaces_and_any_letters(
    sshd: Sshd, opened: Callable[..., SshTarget], before: str
) -> None:
    program(sshd.home / "Übung 1" / "my python", f'exec "{sys.executable}" "$@"')
    before = before.format(home=sshd.home)
    target = opened(python=f"{before}Übung 1/my python", store=f"{before}$HOME störe/'x")
    installed = target.submit(Job(Call("os:getenv", {"key": "PYTHONPATH"}))).result(300).value
    assert Path(installed).parent == sshd.home / "$HOME störe" / "'x" / "paretune"
    assert Path(installed, "paretune").is_dir()


def test_an_interpreter_that_is_too_old(sshd: Sshd, opened: Callable[..., SshTarget]) -> None:
    said = json.dumps({"python": [3, 9, 2], "store": "/x", "there": False, "reason": None})
    program(sshd.home / "old", f"echo '{said}'")
    with pytest.raises(UsageError, match=r"'./old' on board is Python 3.9.2; paretune needs 3.11"):
        opened(python="~/old").info()


@pytest.mark.parametrize(
    "text",
    [
        "echo 3",
        "echo '[]'",
        "echo '{}'",
        """echo '{"python": [3, "x"], "store": "/x", "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": 5, "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": "/x\\u0000", "there": false, "reason": null}'""",
        """echo '{"python": [3, 12], "store": "/x", "there": "yes", "reason": null}'""",
        "head -c 100000 /dev/zero | tr '\\0' '['",
    ],
)
def test_an_interpreter_that_answers_something_else(
    sshd: Sshd, opened: Callable[..., SshTarget], text: str
) -> None:
    program(sshd.home / "other", text)
    with pytest.raises(UsageError, match=r"'./other' on board is not a Python interpreter"):
        opened(python="~/other").info()


def test_an_interpreter_that_writes_without_an_end(
    sshd: Sshd, opened: Callable[..., SshTarget]
) -> None:
    program(sshd.home / "endless", "exec cat /dev/zero")
    with pytest.raises(UsageError, match="'board' cannot be used: it writes without an end"):
        opened(python="~/endless").info()


def test_an_interpreter_without_the_packages_that_paretune_needs(
    opened: Callable[..., SshTarget], tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    told = r"'board' cannot be used: its Python interpreter lacks the module '\w+'\n.*pip install"
    with pytest.raises(UsageError, match=told):
        opened(python=str(python)).info()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("40k", "cannot be written: No space"),
        ("400k", "cannot be installed on board: .*: No space"),
    ],
)
def test_a_full_disk_is_reported_before_anything_runs(
    opened: Callable[..., SshTarget], tmp_path: Path, size: str, told: str
) -> None:
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        with pytest.raises(UsageError, match=f"{told}(?s:.*)`store:`"):
            opened(store=str(tmp_path / "disk" / "far")).info()
        assert not list((tmp_path / "disk").glob("far/paretune/*")), "a part stays behind"
        assert not list((tmp_path / "disk").glob("far/paretune/.*")), "a part stays behind"
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)


def test_a_job_that_is_cancelled_while_it_runs(
    opened: Callable[..., SshTarget],
) -> None:
    target = opened()
    future = target.submit(Job(Call(f"{JOBS}:sleep", {"seconds": 600.0})))
    target.cancel()
    assert future.result(300).status is JobStatus.CANCELLED


CONFIG = """
model: network
passes:
  - onnx_dynamic_int8: {{per_channel: false}}
    optional: true
evaluate:
  - latency: {{shapes: {{x: [32, 512]}}}}
targets: {{board: {{ssh: board, python: {python}, store: {store}}}}}
target: {{build: local, measure: board, threads: {threads}}}
objectives: {{minimize: latency_ms_p50}}
search: {{time: 20m, finals: 0}}
"""


@pytest.mark.usefixtures("sshd")
@pytest.mark.parametrize("threads", [[1], pytest.param([1, 2], marks=pytest.mark.slow)])
def test_a_search_builds_here_and_measures_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: list[int]
) -> None:
    moved: list[str] = []
    send = HostTransport.send

    def noting(transport: HostTransport, files: Sequence[Stamped]) -> None:
        moved.extend(file.sha256 for file in files)
        send(transport, files)

    monkeypatch.setattr(HostTransport, "send", noting)
    monkeypatch.setattr("paretune.search.trial.PROCESS_S", 0.05)
    write_network(tmp_path / "network", width=512, classes=64)
    config = CONFIG.format(python=sys.executable, store=tmp_path / "far", threads=threads)
    (tmp_path / "net.yaml").write_text(config)
    found = paretune.optimize(
        tmp_path / "net.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert len(rows) == 2 * len(threads)
    assert {row["outcome"] for row in rows} <= {"ok", "pruned"}
    assert rows[0]["outcome"] == "ok"
    assert found.best is not None
    results = read_results(tmp_path / "study" / "results.json")
    assert list(results.devices) == ["board"]
    assert found.results["device"]["name"] == "board"
    built = [tmp_path / "network", *(tmp_path / "store" / "objects").iterdir()]
    assert len(built) == 2
    assert {file_digest(folder / "model.onnx") for folder in built} <= set(moved)
    assert len(moved) == len(set(moved)), "a file moves once per digest"


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_a_generating_model_and_its_data_travel(tmp_path: Path) -> None:
    model = make_tiny_llama(tmp_path / "model")
    rows = [{"q": f"line {i}", "a": "yes" if i % 3 else "no"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    board = {"ssh": "board", "python": sys.executable, "store": str(tmp_path / "far")}
    config = {
        "model": str(model),
        "data": {"qa": {"file": "rows.jsonl", "prompt": "{q}: ", "answer": "{a}"}},
        "passes": [{"genai": {"precision": ["fp32", "int8"]}}],
        "evaluate": [
            {"classification": {"data": "qa"}},
            {"generation": {"prompt_tokens": 8, "new_tokens": 4}},
            {"footprint": {"loads": 1}},
        ],
        "targets": {"board": board},
        "target": {"measure": "board", "threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "decode_ms_p50"},
        "search": {"finals": 20},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    found = paretune.optimize(
        tmp_path / "c.yaml", study=tmp_path / "study", store=tmp_path / "store"
    )
    rows_ = found.results["candidates"]
    # A candidate that is slower on this machine may be pruned.
    assert len(rows_) == 2
    assert {row["outcome"] for row in rows_} <= {"ok", "pruned"}, rows_
    whole = [row for row in rows_ if row["outcome"] == "ok"]
    assert whole
    assert all(row["metrics"]["accuracy"]["n"] == 40 for row in whole)
    assert found.best is not None
    assert (found.best / "genai_config.json").is_file()
