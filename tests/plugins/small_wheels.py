"""Small wheels that tests make themselves, so that pip installs something without an index."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from paretune.targets.launchers.wheelhouse import bundled_pip


def write_wheel(
    folder: Path,
    name: str,
    requires: Sequence[str] = (),
    code: str = "",
    tag: str = "py3-none-any",
    version: str = "1.0",
) -> Path:
    """Write a wheel of one module of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = [
        *("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"),
        *(f"Requires-Dist: {each}" for each in requires),
        "",
    ]
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{info}/METADATA", "\n".join(metadata))
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made


def copy_pip(folder: Path) -> None:
    """Copy the wheel of pip that Python brings."""
    folder.mkdir(parents=True, exist_ok=True)
    (wheel,) = bundled_pip()
    shutil.copyfile(wheel, folder / wheel.name)
