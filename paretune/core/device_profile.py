"""What `paretune bench` measured of a device, kept under the device's fingerprint in the store.

It gives the roofline: what the device can do at best. Between two measured points the result is
therefore never less than what the device has reached.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from paretune.core.errors import StateError
from paretune.core.jsontools import Json, read_json, write_json

SCHEMA = 1
_FOLDER = "devices"
_CALM_BELOW = 0.1
"""Share of CPU time that other processes may have used while the figures were measured.

The best of several short repetitions counts, so that a little of it does no harm."""


@dataclass(frozen=True)
class Bandwidth:
    """How fast so many threads read a working set over and over.

    Attributes:
        threads: How many read.
        bytes: Size of what they read together.
        rate: The best that was seen, in bytes per second.
    """

    threads: int
    bytes: int
    rate: float


@dataclass(frozen=True)
class Arithmetic:
    """How fast so many threads multiply matrices.

    Attributes:
        kind: ``fp32`` or ``int8``.
        threads: How many compute.
        rows: Rows of the left matrix: the tokens of a prompt.
        rate: The best that was seen, in multiplications and additions a second.
    """

    kind: str
    threads: int
    rows: int
    rate: float


@dataclass(frozen=True)
class DeviceProfile:
    """A device's own figures.

    Attributes:
        fingerprint: The device's (`TargetInfo.fingerprint`).
        when: When it was measured (ISO 8601, UTC).
        noise_floor: The logarithm of the ratio of two processes' median times of the same work
            lies within plus or minus this, 95 times of 100: 0.03 is 3 %.
        bandwidth: By threads and working set.
        arithmetic: By kind, threads and rows.
        timer_s: Smallest step of the clock that was seen, or what asking it takes.
        process_start_s: What a job's process costs from start to end.
        noise: What the noise floor was computed from: each process's median seconds, by work.
        others: Share of CPU time that other programs used while this was measured.
        stolen: Share of it that the hypervisor gave to other machines.
    """

    fingerprint: str
    when: str
    noise_floor: float
    bandwidth: tuple[Bandwidth, ...]
    arithmetic: tuple[Arithmetic, ...]
    timer_s: float
    process_start_s: float
    noise: Mapping[str, tuple[float, ...]]
    others: float = 0.0
    stolen: float = 0.0

    @property
    def measured_at(self) -> datetime:
        """`when`, with its time zone."""
        return datetime.fromisoformat(self.when)

    @property
    def calm(self) -> bool:
        """True if little else ran while it was measured: only then its roofs are roofs."""
        return self.others + self.stolen <= _CALM_BELOW

    def with_roofs_of(self, earlier: DeviceProfile) -> DeviceProfile:
        """Return this profile with the best rates of both.

        What a device has shown once it can do, whatever was in its way the next time: on a shared
        machine the memory's bandwidth differs by half from one minute to another. A roofline taken
        in a slow minute would rule out what is feasible.
        """
        reads = {(b.threads, b.bytes): b for b in earlier.bandwidth}
        products = {(a.kind, a.threads, a.rows): a for a in earlier.arithmetic}
        for b in self.bandwidth:
            known = reads.get((b.threads, b.bytes), b)
            reads[b.threads, b.bytes] = max(b, known, key=lambda point: point.rate)
        for a in self.arithmetic:
            before = products.get((a.kind, a.threads, a.rows), a)
            products[a.kind, a.threads, a.rows] = max(a, before, key=lambda point: point.rate)
        return replace(self, bandwidth=tuple(reads.values()), arithmetic=tuple(products.values()))

    def bandwidth_at(self, threads: int, bytes: float) -> float | None:
        """Return the bandwidth to expect of reading a working set over and over, at best.

        What is reached on a large set can be had on a smaller one: caches only help. So the rate
        at a size is that of the size itself or any larger one, whichever is best, and a smaller
        set's counts only at its own size and below, where the caches may hold it. Between two
        sizes it falls with the logarithm of the size.

        Args:
            threads: More of them are never slower.
            bytes: Size of the working set.

        Returns:
            Bytes per second; None if nothing was measured.
        """
        roof = self._roof(threads)
        if not roof:
            return None
        sizes = [size for size, _ in roof]
        after = bisect_left(sizes, bytes)
        if after == 0 or after == len(roof) or bytes == sizes[after]:
            return roof[min(after, len(roof) - 1)][1]
        (small, fast), (large, slow) = roof[after - 1], roof[after]
        share = math.log(bytes / small) / math.log(large / small)
        return max(slow, fast + share * (slow - fast))

    def most_bandwidth(self, threads: int, bytes: float) -> float | None:
        """Return a bandwidth that reading a working set over and over does not exceed.

        Unlike `bandwidth_at` it goes by the next smaller size that was measured: a cache may end
        anywhere between two sizes, and up to its end reading is as fast as below.
        """
        roof = self._roof(threads)
        if not roof:
            return None
        fitting = [rate for size, rate in roof if size <= bytes]
        return fitting[-1] if fitting else roof[0][1]

    def peak(self, kind: str | None, threads: int) -> float | None:
        """Return the best rate of arithmetic that was seen.

        Args:
            kind: ``fp32`` or ``int8``; None: whichever is faster.
            threads: More of them are never slower.

        Returns:
            Multiplications and additions a second; None if nothing was measured.
        """
        known = [a for a in self.arithmetic if kind in (None, a.kind)]
        most = _next_count([a.threads for a in known], threads)
        return max((a.rate for a in known if a.threads <= most), default=None)

    def _roof(self, threads: int) -> list[tuple[int, float]]:
        """Return sizes in rising order with rates that never rise."""
        most = _next_count([b.threads for b in self.bandwidth], threads)
        best: dict[int, float] = {}
        for point in self.bandwidth:
            if point.threads <= most:
                best[point.bytes] = max(point.rate, best.get(point.bytes, 0.0))
        roof, highest = [], 0.0
        for size in sorted(best, reverse=True):
            highest = max(highest, best[size])
            roof.append((size, highest))
        return roof[::-1]

    def to_json(self) -> dict[str, Json]:
        """Return everything by name, with the schema's number."""
        return {
            "schema": SCHEMA,
            **asdict(self),
            "bandwidth": [asdict(point) for point in self.bandwidth],
            "arithmetic": [asdict(point) for point in self.arithmetic],
            "noise": {name: list(medians) for name, medians in self.noise.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeviceProfile:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It has another schema, or does not say when it was measured.
        """
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}; this version reads {SCHEMA}")
        if datetime.fromisoformat(value["when"]).tzinfo is None:
            raise ValueError(f"when: {value['when']} has no time zone")
        return cls(
            fingerprint=value["fingerprint"],
            when=value["when"],
            noise_floor=float(value["noise_floor"]),
            bandwidth=tuple(Bandwidth(**point) for point in value["bandwidth"]),
            arithmetic=tuple(Arithmetic(**point) for point in value["arithmetic"]),
            timer_s=float(value["timer_s"]),
            process_start_s=float(value["process_start_s"]),
            noise={name: tuple(medians) for name, medians in value["noise"].items()},
            others=float(value["others"]),
            stolen=float(value["stolen"]),
        )

    def save(self, store_root: Path) -> Path:
        """Write the profile into a store, in place of an older one of this device.

        Raises:
            StateError: The folder cannot be written.
        """
        file = profile_file(store_root, self.fingerprint)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, self.to_json())
        except OSError as error:
            raise StateError(
                f"{file} cannot be written: {error.strerror}",
                hint="Name another folder with --store DIR or $PARETUNE_STORE.",
            ) from error
        return file

    @classmethod
    def load(cls, store_root: Path, fingerprint: str) -> DeviceProfile | None:
        """Return the profile of a device, or None if none was measured.

        Raises:
            StateError: There is one, and it cannot be read.
        """
        file = profile_file(store_root, fingerprint)
        try:
            return cls.from_json(read_json(file))
        except FileNotFoundError:
            return None
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise StateError(
                f"{file} cannot be read: {type(error).__name__}: {error}",
                hint="Run `paretune bench` again: it replaces the file.",
            ) from error


def profile_file(store_root: Path, fingerprint: str) -> Path:
    """Return where a device's profile lies in a store."""
    return store_root / _FOLDER / f"{fingerprint.replace(':', '-')}.json"


def _next_count(measured: Sequence[int], threads: int) -> int:
    """Return the smallest thread count that was measured and is at least the one wanted."""
    return min((count for count in measured if count >= threads), default=max(measured, default=0))
