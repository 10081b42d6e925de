"""What a job is surrounded by: environment, modules, log; with a fork server and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import psutil
import pytest
from local_jobs import MB, run

from paretune.core.job import Call, Job, JobStatus, Limits
from paretune.core.packages import RUNTIMES
from paretune.targets.launchers import local
from paretune.targets.launchers.local import LocalTarget, worker_environment

# --- surroundings ----------------------------------------------------------------------------


def test_a_job_has_a_session_of_its_own_and_no_input(target: LocalTarget) -> None:
    facts = run(target, "facts").value
    assert facts["pid"] == facts["session"] != os.getsid(0)
    assert facts["stdin"] == ""


def test_workers_are_offline_unless_allowed() -> None:
    strict = worker_environment(allow_network=False, inherited={})
    assert strict["HF_HUB_OFFLINE"] == strict["TRANSFORMERS_OFFLINE"] == "1"
    assert strict["ORT_DISABLE_TELEMETRY"] == strict["OPENBLAS_NUM_THREADS"] == "1"
    open_ = worker_environment(allow_network=True, inherited={})
    assert "HF_HUB_OFFLINE" not in open_
    assert open_["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize(
    ("visible", "there", "seen"),
    [
        (None, 0, None),
        (None, 1, None),
        (None, 2, "0"),
        ("1,0", 2, "1"),
        ("0", 2, None),
        ("", 2, None),
        (" GPU-a , GPU-b", 8, "GPU-a"),
    ],
)
def test_jobs_see_one_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, there: int, seen: str | None
) -> None:
    """Two GPUs by a stand-in for what the driver lists: there is no such machine here."""
    monkeypatch.setattr(local, "gpu_names", lambda: ("a GPU",) * there)
    inherited = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    environment = worker_environment(allow_network=False, inherited=inherited)
    assert environment.get("CUDA_VISIBLE_DEVICES") == (visible if seen is None else seen)


def test_a_user_without_a_home_gets_one_for_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert os.path.isdir(worker_environment(allow_network=False, inherited={})["HOME"])


def test_the_environment_reaches_the_job(target: LocalTarget) -> None:
    environment = run(target, "facts").value["environment"]
    assert environment["HF_DATASETS_OFFLINE"] == "1"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="fork server")
def test_preloading_brings_the_modules_and_no_thread() -> None:
    with LocalTarget() as target:
        target.preload(RUNTIMES)
        modules = set(run(target, "facts").value["modules"])
        assert {"torch", "transformers", "peft", "onnxruntime", "onnxruntime_genai"} <= modules
        assert "datasets" not in modules
        server = target._launcher.pid
        assert psutil.Process(server).num_threads() == 1
        assert target._launcher.last_words() == ""
        assert run(target, "add", a=1, b=1).value == 2


def test_the_callers_main_script_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from paretune.targets.base import Call, Job\n"
        "from paretune.targets.launchers.local import LocalTarget\n"
        "print('once')\n"
        "with LocalTarget() as target:\n"
        "    print(target.submit(Job(Call('math:sqrt'))).result().status)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert done.stdout.split() == ["once", "failed"]
    assert done.stderr == ""


# --- the log ---------------------------------------------------------------------------------


def test_output_is_appended_to_the_log(target: LocalTarget, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("before\n")
    assert run(target, "chatter", log=log, lines=2).value == "done"
    assert run(target, "fail", log=log, message="oh").status is JobStatus.FAILED
    text = log.read_text()
    assert text.startswith("before\nline 0\nline 1\nto stderr\nto descriptor 1\n")
    assert "Traceback" in text
    assert "ValueError: oh" in text


def test_a_crash_leaves_its_stack_and_last_words(target: LocalTarget, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    run(target, "segfault", log=log)
    run(target, "drop_dead", log=log, status=1)
    text = log.read_text()
    assert "Fatal Python error: Segmentation fault" in text
    assert "in segfault" in text
    assert "last words" in text


def test_a_million_lines_neither_block_nor_fill_the_disk(
    target: LocalTarget, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    log.write_text("kept\n")
    assert run(target, "chatter", log=log, lines=1_000_000).value == "done"
    text = log.read_text()
    assert len(text) < 9 << 20
    assert text.startswith("kept\nline 0\nline 1\n")
    assert "bytes left out ...]" in text
    assert text.endswith("line 999999\nto stderr\nto descriptor 1\n")


# --- without a fork server -------------------------------------------------------------------


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_both_ways_to_start_give_the_same(start: Literal["spawn", "fork"], tmp_path: Path) -> None:
    if start == "fork" and sys.platform != "linux":
        pytest.skip("fork server")
    before = set(psutil.Process().children(recursive=True))
    with LocalTarget(start=start) as target:
        assert run(target, "add", a=1, b=2).value == 3
        assert run(target, "segfault").reason == "segmentation fault (SIGSEGV)"
        assert run(target, "drop_dead", status=3).reason == "exited with status 3 without a result"
        assert run(target, "spin", limits=Limits(seconds=1)).status is JobStatus.TIMEOUT
        limits = Limits(seconds=30, memory=200 * MB)
        held = run(target, "hold", limits=limits, megabytes=700, seconds=30.0)
        assert held.status is JobStatus.OUT_OF_MEMORY
        pid_file = tmp_path / "pid"
        run(target, "leave_a_forked_child", limits=Limits(seconds=300), pid_file=str(pid_file))
    if start == "spawn":  # documented: what is orphaned between two looks is not found there
        psutil.Process(int(json.loads(pid_file.read_text()))).kill()
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_plug_in_on_a_path_that_came_later_is_found(
    target: LocalTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(target, "add", a=1, b=1).value == 2  # the server runs, and has read what there is
    (tmp_path / "late.py").write_text("class Late:\n    pass\n")
    listed = tmp_path / "late-1.dist-info"
    listed.mkdir()
    (listed / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (listed / "entry_points.txt").write_text("[paretune.passes]\nlate = late:Late\n")
    monkeypatch.syspath_prepend(tmp_path)
    call = Call("job_functions:names_of", {"group": "passes"})
    assert "late" in target.submit(Job(call)).result(300).value
