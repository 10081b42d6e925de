"""What the environment of a worker needs: this version's own requirements, by the runtimes."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from paretune.core.errors import StateError
from paretune.core.packages import requirements

_EXTRAS = ("train", "genai")
_LARGE = 999_999


@dataclass(frozen=True)
class Asked:
    """What an installed package asks of another one.

    Attributes:
        by: The package and its version.
        wanted: The versions that it works with.
    """

    by: str
    wanted: SpecifierSet


@dataclass(frozen=True)
class WorkerPackages:
    """The packages of a worker's environment.

    Attributes:
        variant: Of the runtimes: cpu, gpu or directml.
        needed: Requirements by canonical name.
        below: What those ask of other packages, by the metadata of the installed ones.
    """

    variant: str
    needed: Mapping[str, Requirement]
    below: Mapping[str, tuple[Asked, ...]]

    def refuses(self, name: str, wanted: SpecifierSet) -> str | None:
        """Return why a version of a package does not work beside a worker's; None: it may.

        Args:
            name: Canonical name.
            wanted: The versions that are asked for.
        """
        for asked in self.below.get(name, ()):
            if not _overlap(wanted, asked.wanted):
                return f"{asked.by} needs {name}{asked.wanted}"
        return None


@cache
def worker_packages(variant: str) -> WorkerPackages:
    """Return what a worker needs that trains, builds and measures.

    Args:
        variant: Of the runtimes: cpu, gpu or directml.

    Raises:
        StateError: paretune runs from a folder without installed metadata.
    """
    platform = {"sys_platform": "win32"} if variant == "directml" else {}
    needed: dict[str, Requirement] = {}
    for text in requirements():
        found = Requirement(text)
        extras = ("", *_EXTRAS, variant)
        marker = found.marker
        if found.name == "paretune" or not (
            marker is None or any(marker.evaluate({"extra": extra, **platform}) for extra in extras)
        ):
            continue
        found.marker = None
        needed.setdefault(canonicalize_name(found.name), found)
    if not needed:
        raise StateError(
            "the requirements of paretune are not known: it is not installed",
            hint="Install it (pip install -e . in its folder), and run the same command again.",
        )
    return WorkerPackages(variant, needed, _below(needed))


def _below(names: Iterable[str]) -> dict[str, tuple[Asked, ...]]:
    """Return what installed packages, and those below them, ask of others."""
    found: dict[str, list[Asked]] = {}
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop()
        try:
            by = f"{name} {importlib.metadata.version(name)}"
            texts = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for inner in map(Requirement, texts):
            if inner.marker is not None and not inner.marker.evaluate({"extra": ""}):
                continue
            key = canonicalize_name(inner.name)
            found.setdefault(key, []).append(Asked(by, inner.specifier))
            if key not in seen:
                seen.add(key)
                waiting.append(key)
    return {name: tuple(asked) for name, asked in found.items()}


def _overlap(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Return whether a version is in both sets: at one of their bounds, or just beside it."""
    both = [spec.version.removesuffix(".*") for spec in (*one, *other)]
    points = [point for text in both for point in _around(text)]
    return not (len(one) and len(other)) or any(
        one.contains(point, prereleases=True) and other.contains(point, prereleases=True)
        for point in points
    )


def _around(text: str) -> Iterator[str]:
    """Yield a version, one just above it and one just below it."""
    yield text
    try:
        release = list(Version(text).release)
    except InvalidVersion:
        return
    yield ".".join(map(str, [*release, 1]))
    while release and release[-1] == 0:
        release.pop()
    if release:
        yield ".".join(map(str, [*release[:-1], release[-1] - 1, _LARGE]))


def python_version() -> str:
    """Return the version of Python that the environment is for: this one, such as ``3.12``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
