"""Which installed distributions a module comes from, and their versions.

The same module comes from several distributions: ``onnxruntime`` from ``onnxruntime``,
``onnxruntime-gpu``, ``-directml``, ``-openvino`` or a nightly. A name in a list of packages stands
for its module: the versions of all that bring it count.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec


def package_version(name: str) -> str:
    """Return the version of what brings a package's module, or ``absent``.

    Args:
        name: A distribution, such as ``onnxruntime``.

    Returns:
        Its version where it alone brings its module; else each that does with its version, such
        as ``onnxruntime-gpu 1.22.0``.
    """
    found = variants(name)
    if set(found) <= {normal(name)}:
        return found.get(normal(name), "absent")
    return ", ".join(f"{each} {version}" for each, version in sorted(found.items()))


def variants(name: str) -> dict[str, str]:
    """Return every installed distribution that brings a package's module, with its version.

    Args:
        name: One that does, or the module's own name; it need not be installed.
    """
    wanted = normal(name)
    by_module, own, versions = _scanned()
    modules = own.get(wanted) or {wanted.replace("-", "_")}
    names = {each for module in modules for each in by_module.get(module.lower(), ())}
    if wanted in own:
        names.add(wanted)
    return {each: versions[each] for each in sorted(names)}


def brought_by(module: str) -> dict[str, str]:
    """Return the distributions that bring a top-level module, with their versions."""
    by_module, _, versions = _scanned()
    return {each: versions[each] for each in sorted(by_module.get(module.lower(), ()))}


def module_of(name: str) -> str | None:
    """Return the module that is imported of a distribution, or of another that brings the same.

    Args:
        name: A distribution.

    Returns:
        None: none of them is installed, or it brings several modules under other names.
    """
    wanted = normal(name)
    _, own, _ = _scanned()
    usual = wanted.replace("-", "_")
    found = [m for m in own.get(wanted) or (usual,) if m.isidentifier() and _can_be_imported(m)]
    return usual if usual in found else found[0] if len(found) == 1 else None


def _can_be_imported(module: str) -> bool:
    """Return whether a top-level module is more than a folder; it is not imported for that."""
    try:
        spec = find_spec(module)
    except ValueError:  # such as __main__
        return False
    return spec is not None and spec.origin is not None


def normal(name: str) -> str:
    """Return a distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_all() -> None:
    """Read now what the other functions need: a copy of this process has it then."""
    _scanned()


@cache
def _scanned() -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, str]]:
    """Return modules to distributions, these to modules and to versions; read once in a process.

    As `importlib.metadata.packages_distributions`, without reading each list of files whole.
    """
    by_module: dict[str, set[str]] = {}
    own: dict[str, set[str]] = {}
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        if not metadata["Name"]:  # what a broken removal left
            continue
        name = normal(metadata["Name"])
        versions.setdefault(name, metadata["Version"])  # the first one is imported
        own.setdefault(name, set()).update(modules := set(_modules(distribution)))
        for module in modules:
            by_module.setdefault(module.lower(), set()).add(name)
    return by_module, own, versions


def _modules(distribution: importlib.metadata.Distribution) -> Iterable[str]:
    told = distribution.read_text("top_level.txt")
    if told:
        return told.split()
    listed = distribution.read_text("RECORD") or ""
    tops = {line.split(",", 1)[0].split("/", 1)[0] for line in listed.splitlines()}
    return {
        top.split(".", 1)[0]
        for top in tops
        if top and not top.endswith((".dist-info", ".data", ".pth")) and top not in ("..", ".")
    }
