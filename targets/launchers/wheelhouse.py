"""Wheels for another machine: pip downloads them here, for the platform there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from paretune.core.distributions import normal
from paretune.core.errors import UsageError

_SECONDS = 3600.0
_MOST_ROUNDS = 10
_OLDEST_GLIBC = {"x86_64": 5}
_FIRST_MANYLINUX = 17
"""The oldest glibc, 2.17, of the wheels of all other architectures."""
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_NO_MATCH = "no matching distribution found for "


@dataclass(frozen=True)
class Platform:
    """What wheels must be for.

    Attributes:
        machine: The architecture, such as ``aarch64``.
        libc: ``glibc`` or ``musl``, with its version.
        markers: What requirements may depend on (PEP 508), such as ``python_version``.
    """

    machine: str
    libc: tuple[str, str]
    markers: Mapping[str, str]

    @property
    def python(self) -> str:
        """The version of Python without its last part, such as ``3.12``."""
        return self.markers["python_version"]

    def __str__(self) -> str:
        name, version = self.libc
        return f"Python {self.python} on Linux {self.machine} with {name} {version}"

    def tags(self) -> list[str]:
        """Return the platform tags of wheels that run there, the newest first.

        Raises:
            UsageError: It is neither glibc nor musl: the tags are not known.
        """
        name, version = self.libc
        parts = re.match(r"(\d+)\.(\d{1,3})(?!\d)", version)
        major, newest = (parts[1], int(parts[2])) if parts else ("", 0)
        if name == "glibc" and major == "2":
            oldest = _OLDEST_GLIBC.get(self.machine, _FIRST_MANYLINUX)
            found = []
            for each in range(newest, oldest - 1, -1):
                found.append(f"manylinux_2_{each}_{self.machine}")
                if each in _LEGACY:
                    found.append(f"{_LEGACY[each]}_{self.machine}")
            return [*found, f"linux_{self.machine}"]
        if name == "musl" and major == "1":
            found = [f"musllinux_1_{each}_{self.machine}" for each in range(newest, -1, -1)]
            return [*found, f"linux_{self.machine}"]
        raise UsageError(
            f"wheels can be copied to Linux with glibc 2 or musl 1, found {name or 'neither'} "
            f"{version}",
            hint="Install the packages there by hand, and declare the target in `targets:`.",
        )


def download(
    names: Sequence[str], platform: Platform, folder: Path, source: Path | None = None
) -> list[Path]:
    """Download wheels, with all that they need there, into a folder.

    Args:
        names: Requirements.
        platform: What they must be for.
        folder: Where to.
        source: A folder with wheels to take them from; None: the index that pip is set up for.

    Raises:
        UsageError: There is no such wheel, or nothing can be downloaded here.
    """
    version = platform.python.replace(".", "")
    options = ["--only-binary=:all:", "--dest", str(folder), "--python-version", platform.python]
    options += ["--implementation", "cp", "--abi", f"cp{version}", "--abi", "abi3", "--abi", "none"]
    for tag in platform.tags():
        options += ["--platform", tag]
    if source is not None:
        options += ["--no-index", "--find-links", str(source.absolute())]
    command = [*_pip(), "download", "--disable-pip-version-check", "--no-input", *options]
    wanted = list(names)
    # pip goes by the markers of the interpreter that runs it, which may be of another version.
    for _ in range(_MOST_ROUNDS):
        _run([*command, *wanted], platform, source)
        wheels = sorted(folder.glob("*.whl"))
        absent = sorted(_absent(wheels, platform.markers))
        if not absent:
            return wheels
        wanted += absent
    raise UsageError(f"the packages that {', '.join(names)} need cannot be determined")


def bundled_pip() -> list[Path]:
    """Return the wheel of pip that this Python brings; none where it brings none."""
    if find_spec("ensurepip") is None:
        return []
    # Distributions (Debian, Fedora) keep it outside, and say where.
    elsewhere = sysconfig.get_config_var("WHEEL_PKG_DIR")
    folders = [
        Path(str(files("ensurepip"))) / "_bundled",
        *([Path(elsewhere)] if elsewhere else []),
    ]
    return [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))[-1:]][:1]


def _pip() -> list[str]:
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        raise UsageError(
            "wheels for the device are downloaded with pip, which is not installed here",
            hint=f"Run: {sys.executable} -m ensurepip",
        )
    return [found]


def _run(command: Sequence[str], platform: Platform, source: Path | None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"pip does not download wheels here: {error}") from error
    if done.returncode == 0:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("ERROR")]
    last = (lines or done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    place = "in pip's index" if source is None else f"in {source}"
    at = last.lower().find(_NO_MATCH)
    if at >= 0:
        name = last[at + len(_NO_MATCH) :].partition(" ")[0]
        raise UsageError(
            f"there is no wheel of {name} for {platform} {place}",
            hint="Is the index reachable from here? Try another version of Python there "
            "(--python PATH), or other runtimes (--runtime NAME).",
        )
    raise UsageError(
        f"wheels cannot be downloaded here: {last}",
        hint="Where no index can be reached, give a folder with wheels: --wheelhouse DIR.",
    )


def _absent(wheels: Sequence[Path], markers: Mapping[str, str]) -> Iterator[str]:
    """Yield the requirements of wheels that none of the wheels is for."""
    from packaging.requirements import Requirement

    there = {normal(wheel.name.split("-")[0]) for wheel in wheels}
    environment = {**markers, "extra": ""}
    for wheel in wheels:
        for text in _requirements(wheel):
            wanted = Requirement(text)
            applies = wanted.marker is None or wanted.marker.evaluate(environment)
            if applies and normal(wanted.name) not in there:
                there.add(normal(wanted.name))
                yield f"{wanted.name}{wanted.specifier}"


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode("utf-8", errors="replace")
    return HeaderParser().parsestr(text).get_all("Requires-Dist") or []
