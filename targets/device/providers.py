"""Execution providers: which ones are there, and what each that is not would need."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping

from paretune.core.device import TargetInfo
from paretune.core.errors import UsageError, nearest

PROVIDERS = ("cpu", "cuda", "dml", "openvino")
"""Every name that a configuration may use."""

# Each brings the run-time that a package is served with, in place of another distribution.
_NEEDS = {
    "cuda": ("onnxruntime-genai-cuda", "onnxruntime-genai"),
    "dml": ("onnxruntime-genai-directml", "onnxruntime-genai"),
    "openvino": ("onnxruntime-openvino", "onnxruntime, in an environment of its own"),
}
PROVIDER_PACKAGES = (
    *(package for package, _ in _NEEDS.values()),
    "onnxruntime-gpu",
    "onnxruntime-directml",
)
"""Distributions that bring another provider than the processor's."""


FLAVOURS = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml"),
)
"""Distributions that bring the same module: each overwrites the files of the one before."""


def clashes(packages: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the installed distributions that overwrite each other, a group each.

    Args:
        packages: Names of what is installed.
    """
    installed = set(packages)
    there = (tuple(name for name in group if name in installed) for group in FLAVOURS)
    return [group for group in there if len(group) > 1]


def providers_found(
    packages: Mapping[str, str], gpus: tuple[str, ...], system: str | None = None
) -> tuple[str, ...]:
    """Return the providers that can be used.

    Args:
        packages: Versions of installed distributions.
        gpus: Names of the GPUs found.
        system: As `platform.system` names it; None: this one.
    """
    return tuple(
        name
        for name in PROVIDERS
        if not missing_for(name, packages, gpus, system or platform.system())
    )


def missing_for(
    name: str, packages: Mapping[str, str], gpus: tuple[str, ...], system: str
) -> list[str]:
    """Return what a provider lacks, one phrase a piece; nothing if it can be used."""
    missing = []
    if name == "cuda" and not gpus:
        missing.append("an NVIDIA GPU with its driver (none was found)")
    if name == "dml" and system != "Windows":
        missing.append(f"Windows with a DirectX 12 GPU (this is {system})")
    package, instead = _NEEDS.get(name, (None, ""))
    if package is not None and package not in packages:
        missing.append(f"the package {package} in place of {instead}")
    return missing


def check_provider(name: str, info: TargetInfo) -> str | None:
    """Return why a provider cannot be used on a target, and what it needs; None if it can.

    Args:
        name: One of `PROVIDERS`.
        info: The target.

    Raises:
        UsageError: There is no provider of that name.
    """
    if name not in PROVIDERS:
        raise UsageError(f"no execution provider named {name!r}", hint=nearest(name, PROVIDERS))
    if name in info.providers:
        return None
    missing = missing_for(name, info.packages, info.gpus, info.os.split(" ")[0])
    needs = " and ".join(missing) or "a target that offers it"
    return f"execution provider {name!r} is not available on {info.name!r}: it needs {needs}"
