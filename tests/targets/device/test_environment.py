from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from paretune.core.interference import Interference
from paretune.targets.device.environment import (
    Environment,
    Process,
    governors,
    inspect_environment,
    issues,
    parse_gpu_users,
)

BUSY = Process(7, "chrome", 0.5)


def test_a_program_that_is_busy_is_found_and_oneself_is_not() -> None:
    # The one that is looked for hangs below a shell of its own session: no child of this process.
    program = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    shell = 'nohup "$0" -c "$1" >/dev/null 2>&1 & echo $!'
    started = subprocess.run(
        ["setsid", "sh", "-c", shell, sys.executable, program],
        capture_output=True,
        text=True,
        check=True,
    )
    rival = int(started.stdout)
    try:
        time.sleep(0.2)
        around = inspect_environment(0.5)
    finally:
        os.kill(rival, 9)
    assert rival in {process.pid for process in around.busy}
    assert os.getpid() not in {process.pid for process in around.busy}
    assert around.interference.others > 0
    assert json.loads(json.dumps(around.to_json())) == around.to_json()
    assert str(rival) in str(issues(around)[0]) or len(around.busy) > 5


def test_workers_of_another_study_are_no_other_programs(tmp_path: Path) -> None:
    """They wait while something is measured; what they start belongs to them."""
    busy = "end = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    started = tmp_path / "started.py"
    started.write_text(f"import time\n{busy}")
    agent = (
        "from paretune.core.job import Call, Job\n"
        "from paretune.targets.launchers.local import LocalTarget\n"
        "with LocalTarget() as target:\n"
        f"    call = Call('subprocess:run', {{'args': {[sys.executable, str(started)]}}})\n"
        "    target.submit(Job(call)).result()\n"
    )
    shell = 'nohup "$0" -P -c "$1" >/dev/null 2>&1 & echo $!'
    command = ["setsid", "sh", "-c", shell, sys.executable, agent]
    other = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    try:
        deadline = time.monotonic() + 60
        while not (pids := _running(str(started))) and time.monotonic() < deadline:
            time.sleep(0.1)
        around = inspect_environment(0.5)
    finally:
        os.kill(other, 9)
    assert pids
    assert not pids & {process.pid for process in around.busy}


def _running(name: str) -> set[int]:
    """Return the processes whose command line has a word."""
    found = psutil.process_iter(["cmdline"])
    return {each.pid for each in found if name in (each.info["cmdline"] or ())}


def test_a_quiet_machine_has_no_troubles() -> None:
    assert issues(Environment(governors=("performance",), load=0.1, cores=2)) == ()
    assert issues(Environment()) == ()


@pytest.mark.parametrize(
    ("around", "what", "mend"),
    [
        (Environment(busy=(BUSY,)), "chrome (process 7, 50% of a core)", "End them"),
        (Environment(load=1.9, cores=2), "load average is 1.9 on 2 cores", "Wait"),
        (Environment(interference=Interference(0, 0.1)), "took 10%", "cores of its own"),
        (Environment(governors=("powersave",)), "governor is powersave", "cpupower"),
        (Environment(on_battery=True), "battery", "Plug it in"),
        (Environment(gpu=(Process(8, "python", 512),)), "python (process 8, 512 MB)", "CUDA"),
        (Environment(busy=(BUSY,) * 7), "and 2 more", "End them"),
    ],
)
def test_each_trouble_says_what_why_and_what_to_do(
    around: Environment, what: str, mend: str
) -> None:
    (trouble,) = issues(around)
    assert what in trouble.what
    assert trouble.why
    assert mend in trouble.mend
    assert str(trouble).endswith(".")


def test_governors_are_read_once_each(tmp_path: Path) -> None:
    assert governors(tmp_path) == ()
    for number, name in enumerate(("powersave", "powersave", "performance")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(name + "\n")
    assert governors(tmp_path) == ("performance", "powersave")


def test_the_table_of_gpu_programs() -> None:
    me = os.getpid()
    found = parse_gpu_users(f"{me}, 512\n4194300, [N/A]\n\nNo processes\n")
    assert [(p.pid, p.share) for p in found] == [(me, 512.0), (4194300, 0.0)]
    assert found[1].name == "a program"
    assert parse_gpu_users(f"{me}, 512\n", frozenset({me})) == ()
