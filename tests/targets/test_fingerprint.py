from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from paretune.targets import fingerprint
from paretune.targets.fingerprint import device


def test_the_facts_of_this_machine(tmp_path: Path) -> None:
    info = device("local", tmp_path / "not" / "there" / "yet")
    assert info.processor
    assert 1 <= info.cores <= info.logical_cores <= (os.cpu_count() or 1)
    assert 0 < info.memory_free <= info.memory <= psutil.virtual_memory().total
    assert info.disk_free > 0
    assert info.python == ".".join(map(str, sys.version_info[:3]))
    assert "torch" in info.packages
    assert "cpu" in info.providers


def test_what_is_free_is_no_part_of_the_fingerprint() -> None:
    info = device("local")
    assert replace(info, memory_free=1, disk_free=1).fingerprint == info.fingerprint
    assert replace(info, processor="another").fingerprint != info.fingerprint
    assert replace(info, packages={"torch": "0"}).fingerprint != info.fingerprint


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from paretune.targets.fingerprint import device; device('local'); "
        "print(*({'torch', 'onnxruntime', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "1000000\n"}, 1.5, 1_000_000),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            {
                "cpu.cfs_quota_us": "50000\n",
                "cpu.cfs_period_us": "100000\n",
                "memory.limit_in_bytes": "2000000\n",
            },
            0.5,
            2_000_000,
        ),
        (
            {
                "cpu.cfs_quota_us": "-1\n",
                "cpu.cfs_period_us": "100000\n",
                "memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
        ({}, None, None),
    ],
)
def test_the_containers_limits_count(
    files: dict[str, str],
    cores: float | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "_cgroup_folders", lambda controller: (tmp_path,))
    assert fingerprint._cpu_quota() == cores
    assert fingerprint._memory_limit() == memory
    if cores is not None:
        assert fingerprint.logical_cores() == min(len(os.sched_getaffinity(0)), -(-cores // 1))
    if memory is not None:
        assert fingerprint.total_memory() == memory


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_cores_taken_away_do_not_count() -> None:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        assert fingerprint.logical_cores() == fingerprint.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, usable)
