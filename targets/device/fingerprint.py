"""What this machine is: read from the system, without importing anything that computes."""

from __future__ import annotations

import platform
import re
import shutil
from functools import cache
from pathlib import Path

from paretune.core.device import TargetInfo
from paretune.core.distributions import variants
from paretune.core.resources import (
    free_memory,
    logical_cores,
    physical_cores,
    total_memory,
)
from paretune.targets.device.nvidia_smi import ask_nvidia_smi
from paretune.targets.device.providers import PROVIDER_PACKAGES, providers_found

# What a speed or a scored answer may depend on.
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-genai", "peft", "torch", "transformers")
_FLAGS = (
    "avx",
    "avx2",
    "f16c",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "sve2",
    "bf16",
)
_SMI = ("--query-gpu=name", "--format=csv,noheader")


@cache
def fingerprint() -> str:
    """Return the fingerprint of this machine, as it was when this process first asked."""
    return device("local").fingerprint


def device(name: str, store_root: Path | None = None) -> TargetInfo:
    """Return the facts of this machine; takes some milliseconds.

    Args:
        name: The target's name.
        store_root: Where the store lies or will lie, for the disk that is free there.
    """
    packages = package_versions()
    gpus = gpu_names()
    return TargetInfo(
        name=name,
        processor=_processor()[0],
        cores=physical_cores(),
        logical_cores=logical_cores(),
        memory=total_memory(),
        memory_free=free_memory(),
        disk_free=free_disk(store_root or Path.cwd()),
        gpus=gpus,
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=packages,
        providers=providers_found(packages, gpus),
        flags=_processor()[1],
        boot_id=boot_id(),
    )


@cache
def boot_id() -> str:
    """Return the system's own id of this start of the machine; empty: unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@cache
def _processor() -> tuple[str, tuple[str, ...]]:
    """Return the processor's model name and the instruction sets that matter."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), ()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    there = set(flags[1].split()) if flags else set()
    return (
        name[1].strip() if name else platform.processor() or platform.machine(),
        tuple(flag for flag in _FLAGS if flag in there),
    )


def free_disk(folder: Path) -> int:
    """Return the disk that is free where a folder lies or will lie, in bytes."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of all installed packages that a measurement depends on.

    Whatever brings the same module counts: each variant of a runtime, and nightly builds.
    """
    found: dict[str, str] = {}
    for name in (*_PACKAGES, *PROVIDER_PACKAGES):
        found |= variants(name)
    return dict(sorted(found.items()))


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the NVIDIA GPUs that the driver knows, by name; asked once."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if cards:
        names = (
            re.search(r"^Model:\s*(.+)$", card.read_text(encoding="utf-8"), re.MULTILINE)
            for card in cards
        )
        return tuple(name[1].strip() for name in names if name)
    return tuple(line.strip() for line in ask_nvidia_smi(*_SMI).splitlines() if line.strip())
