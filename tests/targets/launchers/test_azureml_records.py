"""Jobs in Azure that a killed process leaves are found by the task, and taken over once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from paretune.core.candidate import Step
from paretune.core.job import Build, Call
from paretune.core.model import Model
from paretune.core.stamps import InputFiles, take
from paretune.targets.launchers.azureml_records import Records, identity_of, remove_logs

TASK = {"kind": "call", "function": "f"}


def test_a_job_has_a_name_of_its_own_while_somebody_waits_for_it(tmp_path: Path) -> None:
    records = Records(tmp_path, "cluster")
    first, second = (records.claim(TASK, [1.0, None], None) for _ in range(2))
    assert first.name != second.name
    assert not first.found
    assert not second.found
    first.done()
    third = records.claim(TASK, [1.0, None], None)
    assert not third.found, "its result was taken: the same task is another job now"


def test_a_job_that_a_killed_process_left_is_taken_over_once(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from paretune.targets.launchers.azureml_records import Records\n"
        f"claim = Records(Path(sys.argv[1]), 'cluster').claim({TASK}, [5.0, None], 'study')\n"
        "print(claim.name, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        records = Records(tmp_path, "cluster")
        other = records.claim(TASK, [5.0, None], "study")
        assert not other.found, "that process waits for it"
        other.done()
        os.kill(process.pid, signal.SIGKILL)
    assert not Records(tmp_path, "another cluster").claim(TASK, None, None).found
    found = records.claim(TASK, [9.0, None], "study")
    assert (found.name, found.found, found.limits, found.study) == (
        name,
        True,
        [5.0, None],
        "study",
    )
    another = records.claim(TASK, None, None)
    assert not another.found
    another.done()
    found.leave()
    assert records.claim(TASK, None, None).name == name


def test_jobs_that_nobody_asks_for_again_are_those_of_the_studies_that_end(tmp_path: Path) -> None:
    records = Records(tmp_path, "cluster")
    mine = records.claim({"n": 1}, None, "mine")
    other = records.claim({"n": 2}, None, "other")
    of_none = records.claim({"n": 3}, None, None)
    held = records.claim({"n": 4}, None, "mine")
    for claim in (mine, other, of_none):
        claim.leave()
    left = [claim.name for claim in records.left_by(frozenset({"mine"}))]
    assert sorted(left) == sorted([mine.name, of_none.name])
    assert held.name not in left
    assert records.claim({"n": 2}, None, "other").name == other.name, "it can still be found"


def test_a_task_is_the_same_wherever_its_files_lie(tmp_path: Path) -> None:
    def task(folder: Path, content: str = "text", step: str = "merge") -> Build:
        folder.mkdir(exist_ok=True)
        (folder / "rows.txt").write_text(content)
        file = take(folder / "rows.txt")
        return Build(
            model=Model("hf", folder, "sha256:1", files=(file,)),
            recipe=(Step(step, {}),),
            provider="cpu",
            store=folder,
            study=folder,
            data={},
            inputs=(InputFiles("data", (file,)),),
            seeds=(),
        )

    first = identity_of(task(tmp_path / "a").to_json())
    assert identity_of(task(tmp_path / "b").to_json()) == first
    assert identity_of(task(tmp_path / "c", content="other").to_json()) != first
    assert identity_of(task(tmp_path / "d", step="lora").to_json()) != first


def test_arguments_of_a_call_are_part_of_it() -> None:
    tasks = [Call("f", {"path": path, "study": path}) for path in ("/a", "/b")]
    assert identity_of(tasks[0].to_json()) != identity_of(tasks[1].to_json())


def test_logs_go_by_age_but_not_while_a_job_is_waited_for(tmp_path: Path) -> None:
    logs, jobs = tmp_path / "azureml" / "logs", tmp_path / "azureml" / "jobs"
    waited_for = Records(tmp_path, "cluster").claim(TASK, None, None)
    logs.mkdir()
    for name, days in (("old", 40), (waited_for.name, 40), ("new", 0)):
        (logs / f"{name}.log").write_text("a line")
        written = time.time() - days * 86_400
        os.utime(logs / f"{name}.log", (written, written))
    remove_logs(tmp_path, 30 * 86_400)
    assert {log.stem for log in logs.iterdir()} == {waited_for.name, "new"}
    remove_logs(tmp_path)
    assert {log.stem for log in logs.iterdir()} == {waited_for.name}
    waited_for.done()
    assert not [*jobs.glob("*.json")]
    remove_logs(tmp_path)
    assert not [*logs.iterdir()]
