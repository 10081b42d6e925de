"""Facts about a device: what a measurement is valid for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from paretune.core.jsontools import Json, digest

PASSING = frozenset({"memory_free", "disk_free", "boot_id"})
"""Facts that no speed depends on: they are not part of the fingerprint."""


@dataclass(frozen=True)
class TargetInfo:
    """What a device is: the facts that a measurement is valid for.

    Attributes:
        name: Target's name, such as ``local``.
        processor: Model name of the processor.
        cores: Physical cores that may be used.
        logical_cores: Logical cores that may be used.
        memory: Main memory in bytes.
        memory_free: Memory free when it was asked, in bytes (not part of the fingerprint).
        disk_free: Disk free where the store lies, in bytes (not part of the fingerprint).
        gpus: Names of the GPUs found.
        os: Operating system and kernel release.
        python: Python's version.
        packages: Versions of the packages that a measurement depends on.
        providers: Execution providers found: ``cpu``, ``cuda``, ``dml``.
        flags: Instruction sets that matter (``avx2``, ``avx512f``, ...).
        boot_id: The system's own id of this start of the machine: targets with the same one share
            their processor (not part of the fingerprint); empty: unknown.
    """

    name: str
    processor: str = ""
    cores: int = 1
    logical_cores: int = 1
    memory: int = 0
    memory_free: int = 0
    disk_free: int = 0
    gpus: tuple[str, ...] = ()
    os: str = ""
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ("cpu",)
    flags: tuple[str, ...] = ()
    boot_id: str = ""

    @property
    def fingerprint(self) -> str:
        """Digest of all that a speed depends on (not of what is free just now)."""
        fingerprint: str = self.to_json()["fingerprint"]
        return fingerprint

    def to_json(self) -> dict[str, Json]:
        """Return all facts and the fingerprint."""
        facts: dict[str, Json] = {
            "name": self.name,
            "processor": self.processor,
            "cores": self.cores,
            "logical_cores": self.logical_cores,
            "memory": self.memory,
            "memory_free": self.memory_free,
            "disk_free": self.disk_free,
            "gpus": list(self.gpus),
            "os": self.os,
            "python": self.python,
            "packages": dict(self.packages),
            "providers": list(self.providers),
            "flags": list(self.flags),
            "boot_id": self.boot_id,
        }
        return {**facts, "fingerprint": digest(_lasting(facts))}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> TargetInfo:
        """Read what `to_json` wrote; what is missing has its default."""
        known = {each.name for each in fields(cls)}
        facts: dict[str, Any] = {
            name: tuple(fact) if isinstance(fact, list) else fact
            for name, fact in value.items()
            if name in known
        }
        return cls(**facts)


def with_least(infos: Sequence[TargetInfo]) -> TargetInfo:
    """Return the first of several devices, with the least memory and disk that one of them has.

    Args:
        infos: At least one; a size that a device does not tell is 0, and does not count.
    """

    def least(sizes: Iterable[int]) -> int:
        return min(filter(None, sizes), default=0)

    return replace(
        infos[0],
        memory=least(info.memory for info in infos),
        memory_free=least(info.memory_free for info in infos),
        disk_free=least(info.disk_free for info in infos),
    )


def changed(before: TargetInfo, now: TargetInfo) -> list[str]:
    """Return the facts that no longer are what they were, as text; empty: the same device.

    A part of the fingerprint that is missing on one side differs as well.
    """
    old, new = (_flat(_lasting(info.to_json())) for info in (before, now))
    return [
        f"{name} {old.get(name)} -> {new.get(name)}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]


def _flat(facts: Mapping[str, Json]) -> dict[str, Json]:
    """Return facts by name, each package as one of them; without the fingerprint."""
    packages = {f"package {name}": version for name, version in facts["packages"].items()}
    left_out = ("packages", "fingerprint")
    return {name: fact for name, fact in facts.items() if name not in left_out} | packages


def _lasting(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {k: v for k, v in facts.items() if k not in PASSING}
