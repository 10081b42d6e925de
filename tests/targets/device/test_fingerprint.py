from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from paretune.targets.device.fingerprint import device


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
        "import sys; from paretune.targets.device.fingerprint import device; device('local'); "
        "print(*({'torch', 'onnxruntime', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
