"""The ``paretune`` command in a process of its own, with the fakes as plug-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def paretune(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder; its store lies there."""
    plugins = str(Path(__file__).resolve().parent)
    env = {**os.environ, "PYTHONPATH": plugins, "PARETUNE_STORE": str(cwd / "store")}
    return subprocess.run(
        [sys.executable, "-m", "paretune", *map(str, arguments)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
