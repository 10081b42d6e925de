"""Virtual environments for tests of other interpreters, made without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def make_environment(folder: Path) -> Path:
    """Make an environment that sees the packages that are installed here, but not this checkout.

    Args:
        folder: Where.

    Returns:
        Its interpreter. What is installed into it stands before the packages of here.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    installed = [place for place in sys.path if place.endswith("site-packages")]
    (packages / "zz_packages.pth").write_text("\n".join(installed) + "\n")
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path) -> subprocess.CompletedProcess[str]:
    """Install something into an environment, over what it sees of here; no dependencies."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    options = ["--no-deps", "--ignore-installed", "--no-compile"]
    return subprocess.run([*pip, *options, *what], capture_output=True, text=True, check=False)
