"""What counts energy on this device: RAPL, chips on the board (hwmon), NVIDIA's counter."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from paretune.core.energy import NoEnergyCounterError
from paretune.core.errors import nearest
from paretune.targets.worker.nvml import energy_counter
from paretune.targets.worker.sysfs import in_order, number_of, text_of, why_unreadable

RAPL, HWMON, NVIDIA = "rapl", "hwmon", "nvidia"
_COUNTER_S = 20.0
"""A RAPL counter of 32 bits and 15.3 µJ per step overflows after a minute at 1,000 W."""
_SAMPLE_S = 0.1
_ON_BOARDS = re.compile(r"ina\d+|power_meter")
"""Chips that measure what a board takes: INA219, INA226, INA3221, the power meter of ACPI."""
_WHOLE_INPUT = re.compile(r"vdd_in|pom_5v_in|vin|sys_?in|total.*|.*_total", re.IGNORECASE)
_READABLE_BY_ROOT = (
    "As root: chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start; a udev "
    "rule keeps it). The counters are closed by default, because they allow attacks by other "
    "users of the machine (CVE-2020-8694)."
)


class SensorError(Exception):
    """A counter or sensor cannot be read any more, or reads what it cannot."""


class Source(Protocol):
    """What counts energy.

    Attributes:
        about: What it counts, as text.
        least_s: A shorter time cannot be measured.
        every_s: How often it must be read in between.
    """

    about: str
    least_s: float
    every_s: float

    def begin(self) -> None:
        """Count from now on."""

    def advance(self) -> float:
        """Return the joules since the last call, or since `begin`.

        Raises:
            SensorError: It cannot be read.
        """


@dataclass
class Counter:
    """A counter of energy.

    Attributes:
        about: What it counts, as text.
        unit_j: Joules of one step.
        value: Reads it; None: it cannot be read.
        size: It goes back to 0 after this many steps; None: it never does.
        least_s: See `Source`.
        every_s: See `Source`.
    """

    about: str
    unit_j: float
    value: Callable[[], int | None]
    size: int | None = None
    least_s: float = 0.05
    every_s: float = _COUNTER_S
    _last: int | None = None

    def begin(self) -> None:
        """Count from now on."""
        self._last = self.value()

    def advance(self) -> float:
        """Return the joules since the last call; an overflow is corrected by the counter's size.

        Raises:
            SensorError: It cannot be read, or went backwards.
        """
        last, self._last = self._last, self.value()
        if last is None or self._last is None:
            raise SensorError(f"{self.about} could not be read")
        steps = self._last - last
        if steps < 0 and self.size is not None:
            steps += self.size
        if steps < 0:
            raise SensorError(f"{self.about} went back from {last} to {self._last}")
        return steps * self.unit_j


@dataclass
class Together:
    """Counters that are added up, such as those of several packages.

    Attributes:
        about: What they count, as text.
        parts: The counters.
        least_s: See `Source`.
        every_s: See `Source`.
    """

    about: str
    parts: Sequence[Counter]
    least_s: float = 0.05
    every_s: float = _COUNTER_S

    def begin(self) -> None:
        """Count from now on."""
        for part in self.parts:
            part.begin()

    def advance(self) -> float:
        """Return the joules since the last call.

        Raises:
            SensorError: One of them cannot be read, or went backwards.
        """
        return sum(part.advance() for part in self.parts)


@dataclass
class PowerSensor:
    """A sensor of power, which is sampled and integrated.

    Attributes:
        about: What it measures, as text.
        watts: Reads it; None: it cannot be read.
        least_s: See `Source`.
        every_s: See `Source`.
    """

    about: str
    watts: Callable[[], float | None]
    least_s: float = 2.0
    every_s: float = _SAMPLE_S
    _last: tuple[float, float | None] = (0.0, None)

    def begin(self) -> None:
        """Count from now on."""
        self._last = time.monotonic(), self.watts()

    def advance(self) -> float:
        """Return the joules since the last call, by the trapezoidal rule.

        Raises:
            SensorError: It cannot be read.
        """
        then, before = self._last
        self._last = now, power = time.monotonic(), self.watts()
        if before is None or power is None:
            raise SensorError(f"{self.about} could not be read")
        return (now - then) * (before + power) / 2


def choose(names: str, root: Path) -> dict[str, Source]:
    """Return the sources that are meant, by name.

    Args:
        names: Sources (``rapl``, ``hwmon``, ``hwmon:CHIP/CHANNEL``, ``nvidia``), joined by ``+``;
            an empty text: RAPL, else a chip on the board, and NVIDIA's counter, as there are.
        root: Where ``/sys`` is mounted.

    Raises:
        NoEnergyCounterError: There is none, or one of them cannot be read.
    """
    if names:
        return {name: _source(name, root) for name in names.split("+")}
    found: dict[str, Source] = {}
    lacks: list[NoEnergyCounterError] = []
    for name in (RAPL, HWMON, NVIDIA):
        if name == HWMON and RAPL in found:
            continue
        try:
            found[name] = _source(name, root)
        except NoEnergyCounterError as error:
            lacks.append(error)
    if not found:
        raise NoEnergyCounterError(
            "; ".join(error.message for error in lacks),
            hint=" ".join(error.hint for error in lacks if error.hint) or None,
        )
    return found


def _source(name: str, root: Path) -> Source:
    kind, _, chosen = name.partition(":")
    if name == RAPL:
        return _rapl(root)
    if kind == HWMON:
        return _hwmon(root, chosen)
    if name == NVIDIA:
        read = energy_counter()
        if isinstance(read, str):
            raise NoEnergyCounterError(read)
        return Counter("the NVIDIA GPU", 1e-3, read, least_s=2.0)
    raise NoEnergyCounterError(
        f"there is no source of energy named {name!r}",
        hint=nearest(name, (RAPL, HWMON, NVIDIA)),
    )


def _rapl(root: Path) -> Source:
    """Return the counters of the processor packages and of their main memory."""
    zones = list(in_order(root / "class/powercap", "intel-rapl:*"))
    packages = {
        zone.name: zone
        for zone in zones
        if zone.name.count(":") == 1 and (text_of(zone / "name") or "").startswith("package")
    }
    memory = [
        zone
        for zone in zones
        if zone.name.rpartition(":")[0] in packages and text_of(zone / "name") == "dram"
    ]
    if not packages:
        raise NoEnergyCounterError(f"there is no RAPL counter in {root / 'class/powercap'}")
    parts = []
    for zone in (*packages.values(), *memory):
        file = zone / "energy_uj"
        why = why_unreadable(file)
        if why is not None:
            raise NoEnergyCounterError(f"{file} cannot be read: {why}", hint=_READABLE_BY_ROOT)
        if number_of(file) is None:
            raise NoEnergyCounterError(f"{file} holds no number: {text_of(file)!r:.60}")
        parts.append(_zone(zone))
    return Together(f"RAPL ({', '.join(part.about for part in parts)})", parts)


def _zone(zone: Path) -> Counter:
    size = number_of(zone / "max_energy_range_uj")
    return Counter(
        text_of(zone / "name") or zone.name,
        1e-6,
        lambda: number_of(zone / "energy_uj"),
        size if size is not None and size > 0 else None,
    )


def _hwmon(root: Path, chosen: str) -> Source:
    """Return a counter or sensor of a chip.

    Args:
        root: Where ``/sys`` is mounted.
        chosen: ``CHIP/CHANNEL``, or a chip with a single one; empty: the board's own.
    """
    there = dict(_channels(root))
    if chosen:
        some = [name for name in there if name == chosen or name.partition("/")[0] == chosen]
    else:
        some = [name for name in there if _ON_BOARDS.match(name)]
    whole = [name for name in some if _WHOLE_INPUT.fullmatch(name.partition("/")[2])]
    some = whole if len(whole) == 1 else some
    if len(some) == 1:
        return there[some[0]]
    listed = ", ".join(there) or "none"
    if not some:
        what = f"no power sensor {chosen!r}" if chosen else "no power sensor of the board"
        raise NoEnergyCounterError(f"there is {what} in {root / 'class/hwmon'} (found: {listed})")
    raise NoEnergyCounterError(
        f"several power sensors could be meant: {', '.join(some)}",
        hint=f'Choose one: `energy: "hwmon:{some[0]}"`.',
    )


def _channels(root: Path) -> Iterator[tuple[str, Source]]:
    """Yield what counts energy or measures power, by ``CHIP/CHANNEL``; a counter is preferred."""
    chips = [(c, text_of(c / "name") or c.name) for c in in_order(root / "class/hwmon", "hwmon*")]
    for chip, name in chips:
        if sum(name == other for _, other in chips) > 1:  # two of a kind: by their addresses
            name = f"{name}@{(chip / 'device').resolve().name}"
        counted = _of_chip(chip, name, "energy*_input", _energy)
        powers = _of_chip(chip, name, "power*_input", _power)
        means = _of_chip(chip, name, "power*_average", _power)
        found = counted or powers or means or _of_chip(chip, name, "curr*_input", _product)
        yield from found.items()


def _of_chip(
    chip: Path, name: str, pattern: str, make: Callable[[Path, str], Source | None]
) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for file in in_order(chip, pattern):
        stem = file.name.rpartition("_")[0]
        label = text_of(chip / f"{stem}_label") or text_of(
            chip / f"{stem.replace('curr', 'in')}_label"
        )
        channel = f"{name}/{label or stem}"
        source = make(file, channel)
        if source is not None:
            found[channel] = source
    return found


def _energy(file: Path, about: str) -> Source | None:
    if number_of(file) is None:
        return None
    return Counter(about, 1e-6, lambda: number_of(file), least_s=2.0)


def _power(file: Path, about: str) -> Source | None:
    return None if number_of(file) is None else PowerSensor(about, lambda: _scaled(file, 1e-6))


def _product(file: Path, about: str) -> Source | None:
    """Return the power of a channel of current and voltage, in milliampere and millivolt."""
    volts = file.with_name(file.name.replace("curr", "in"))
    if number_of(file) is None or number_of(volts) is None:
        return None

    def watts() -> float | None:
        amperes, tension = _scaled(file, 1e-3), _scaled(volts, 1e-3)
        return None if amperes is None or tension is None else amperes * tension

    return PowerSensor(about, watts)


def _scaled(file: Path, unit: float) -> float | None:
    number = number_of(file)
    return None if number is None else number * unit
