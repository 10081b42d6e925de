"""A sandbox that refuses prctl(2): jobs run all the same, and what they leave behind is found."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"

# Has the kernel refuse what the fork server asks of prctl (seccomp's filters are inherited), as
# gVisor and hardened containers do. On x86-64 and 64-bit ARM.
REFUSES = """
import ctypes, os, platform, struct, sys
prctl_number, architecture = {"x86_64": (157, 0xC000003E), "aarch64": (167, 0xC00000B7)}[
    platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = [
    (LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, 0x7FFF0000),
    (LOAD, 0, 0, 0), (EQUAL, 1, 0, prctl_number), (RETURN, 0, 0, 0x7FFF0000),
    (LOAD, 0, 0, 16), (EQUAL, 2, 0, 1), (EQUAL, 1, 0, 36), (RETURN, 0, 0, 0x7FFF0000),
    (RETURN, 0, 0, 0x00050000 | 1),
]
code = b"".join(struct.pack("HBBI", *line) for line in program)
memory = ctypes.create_string_buffer(code)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
filter = Filter(len(program), ctypes.addressof(memory))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0
assert libc.prctl(36, 1, 0, 0, 0) == -1 and ctypes.get_errno() == 1
"""

JOBS = """
import json, os, psutil
from paretune.core.job import Call, Job
from paretune.targets.launchers.local import LocalTarget
def run(target, function, **arguments):
    return target.submit(Job(Call(function, arguments))).result()
with LocalTarget() as target:
    added = run(target, "job_functions:add", a=1, b=2)
    long = f"6{os.getpid()}"
    command = f"(sleep {long} > /dev/null 2>&1 &); echo done"
    left = run(target, "subprocess:getoutput", cmd=command)
    sleeping = [p.pid for p in psutil.process_iter(["cmdline"])
                if p.info["cmdline"] == ["sleep", long]]
print(json.dumps([added.value, added.status, left.value, sleeping]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="a seccomp filter of Linux on a known processor",
)
def test_jobs_run_where_prctl_is_refused(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(PLUGINS), *filter(None, sys.path)])
    seen = subprocess.run(
        [sys.executable, "-P", "-c", REFUSES + JOBS],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout) == [3, "ok", "done", []]
