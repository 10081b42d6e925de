"""Questions to ``nvidia-smi``; no answer where it is missing or its driver does not respond."""

from __future__ import annotations

import shutil
import subprocess

_PROGRAM = "nvidia-smi"


def ask_nvidia_smi(*arguments: str) -> str:
    """Return what the program prints; an empty text where there is none or it fails."""
    if shutil.which(_PROGRAM) is None:
        return ""
    try:
        asked = subprocess.run(
            (_PROGRAM, *arguments), capture_output=True, text=True, timeout=10, check=True
        )
    except (subprocess.SubprocessError, OSError):  # a driver that does not answer runs nothing
        return ""
    return asked.stdout
