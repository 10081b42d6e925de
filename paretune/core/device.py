"""Facts about a device: what a measurement is valid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paretune.core.jsontools import Json, digest


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
        }
        return {**facts, "fingerprint": digest(_lasting(facts))}


def _lasting(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {k: v for k, v in facts.items() if k not in ("memory_free", "disk_free")}
