"""Frequency, temperature and throttling of this device, from what Linux reports in ``/sys``.

The sensors are read before and after a measurement, never while something is timed. psutil reads
some of the same files, but not what counts or shows throttling, and where a virtual machine has no
sensor it returns the processor's nominal frequency, which is not a measurement.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paretune.core.conditions import Conditions
from paretune.core.resources import usable_cores
from paretune.targets.worker.nvml import GpuReading, read_gpu, slowed_by
from paretune.targets.worker.sysfs import in_order, number_of, sysfs_root, text_of

_CLOCK_JUMP_S = 1.0
"""By so much the wall clock must differ from the monotonic one before it counts as set."""
_POSSIBLE_C = (-40.0, 150.0)
"""What a working sensor may read, in degrees Celsius."""
_OF_PROCESSOR = re.compile(r"cpu|core|pkg|soc|k10temp|zen|tctl|big|little|cluster", re.IGNORECASE)
_SLOWS_PROCESSOR = re.compile(
    r"(processor|cpufreq-.*|thermal-cpufreq-.*|cpu-idle.*|idle-.*|thermal-idle-.*|intel_powerclamp)",
    re.IGNORECASE,
)
_COUNTERS = ("core_throttle_count", "package_throttle_count")
_HEAT = "processor: temperature limit"
_VCGENCMD_S = 5.0
_PI_FILE = "devices/platform/soc/soc:firmware/get_throttled"
_PI_CAUSES = (
    "board: under-voltage",
    "board: frequency capped",
    "board: throttled",
    "board: soft temperature limit",
)
"""Bits 0 to 3 of ``get_throttled``: now. Bits 16 to 19: since the board started."""


@dataclass(frozen=True)
class Frequency:
    """What is known of the frequency of some cores.

    Attributes:
        now: In kHz; None: it cannot be read.
        most: The highest that they can have, in kHz; None: unknown.
        spent: By frequency in kHz, how long they had it, in ticks; empty: the kernel does not
            count.
    """

    now: int | None
    most: int | None
    spent: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What the sensors reported at one moment.

    Attributes:
        wall: Seconds of the clock that can be set.
        monotonic: Seconds of the clock that cannot.
        frequencies: By group of cores that have their frequency together.
        temperature: The processor's highest, in degrees Celsius; None: it is not reported.
        events: Counters of throttling, by file.
        causes: Why the processor is throttled now.
        board: The bits of a Raspberry Pi's ``get_throttled``; None: it is none.
        reports_throttling: Whether any of the last three exists.
        gpu: What NVML reported; None: nothing.
    """

    wall: float
    monotonic: float
    frequencies: Mapping[str, Frequency]
    temperature: float | None
    events: Mapping[str, int]
    causes: tuple[str, ...]
    board: int | None
    reports_throttling: bool
    gpu: GpuReading | None = None


def read(root: Path | None = None, *, gpu: bool = False) -> Reading:
    """Read the sensors; takes some milliseconds.

    Args:
        root: Where ``/sys`` is mounted; None: `sysfs_root`.
        gpu: Whether NVIDIA's sensors are read, too.
    """
    root = sysfs_root() if root is None else root
    cooling = _cooling_states(root)
    voltage = _voltage_alarm(root)
    events, board = _events(root), _board_bits(root)
    causes = [f"processor: cooling device {kind}" for kind, state in cooling if state > 0]
    causes += [_PI_CAUSES[0]] * bool(voltage)
    seen = read_gpu() if gpu else None
    return Reading(
        wall=time.time(),
        monotonic=time.monotonic(),
        frequencies=_frequencies(root),
        temperature=_temperature(root),
        events=events,
        causes=tuple(dict.fromkeys(causes)),
        board=board,
        reports_throttling=bool(events or cooling)
        or not (board is None and voltage is None)
        or (seen is not None and seen.reports_throttling),
        gpu=seen,
    )


def between(before: Reading, after: Reading) -> Conditions:
    """Return what two readings report of the time between them."""
    fastest = _fastest(before, after)
    temperatures = [r.temperature for r in (before, after) if r.temperature is not None]
    jump = (after.wall - before.wall) - (after.monotonic - before.monotonic)
    gpus = [r.gpu for r in (before, after) if r.gpu is not None]
    heats = [gpu.temperature_c for gpu in gpus if gpu.temperature_c is not None]
    return Conditions(
        frequency_mhz=None if fastest is None else round(fastest[0] / 1e3, 1),
        most_mhz=None if fastest is None or fastest[1] is None else round(fastest[1] / 1e3, 1),
        temperature_c=max(temperatures, default=None),
        gpu_mhz=None if after.gpu is None else after.gpu.mhz,
        gpu_temperature_c=max(heats, default=None),
        throttled=tuple(_causes(before, after)),
        reports_throttling=before.reports_throttling or after.reports_throttling,
        clock_jump_s=round(jump, 3) if abs(jump) >= _CLOCK_JUMP_S else None,
    )


class Observed:
    """What was observed while a block ran: `conditions` are known when it has ended."""

    conditions: Conditions = Conditions()


@contextmanager
def observing(*, gpu: bool = False) -> Iterator[Observed]:
    """Read the sensors before and after the block.

    Args:
        gpu: Whether NVIDIA's sensors are read, too.
    """
    observed, before = Observed(), read(gpu=gpu)
    yield observed
    observed.conditions = between(before, read(gpu=gpu))


def _causes(before: Reading, after: Reading) -> Iterator[str]:
    """Yield why the device was slower than it can be, each cause once."""
    found = [*before.causes, *after.causes]
    known = before.events
    if any(count > known.get(name, count) for name, count in after.events.items()):
        found.append(_HEAT)
    now = (before.board or 0) | (after.board or 0)
    if before.board is not None and after.board is not None:
        now |= (after.board & ~before.board) >> 16  # it happened between the two
    found += [cause for bit, cause in enumerate(_PI_CAUSES) if now >> bit & 1]
    found += slowed_by(before.gpu, after.gpu)
    yield from dict.fromkeys(found)


def _fastest(before: Reading, after: Reading) -> tuple[float, int | None] | None:
    """Return frequency and highest frequency, in kHz, of the cores that ran fastest."""
    found: list[tuple[float, int | None]] = []
    for name, now in after.frequencies.items():
        past = before.frequencies.get(name)
        mean = None if past is None else _mean(past.spent, now.spent)
        khz = now.now if mean is None else mean
        if khz:
            found.append((khz, now.most))
    return max(found, key=lambda pair: pair[0], default=None)


def _mean(before: Mapping[int, int], after: Mapping[int, int]) -> float | None:
    """Return the mean frequency between two counts of ticks; None: none was counted."""
    ticks = {khz: count - before.get(khz, 0) for khz, count in after.items()}
    if not ticks or min(ticks.values()) < 0 or not sum(ticks.values()):
        return None  # not counted, set back meanwhile, or shorter than a tick
    return sum(khz * count for khz, count in ticks.items()) / sum(ticks.values())


def _frequencies(root: Path) -> dict[str, Frequency]:
    found: dict[str, Frequency] = {}
    for core in usable_cores():
        folder = root / f"devices/system/cpu/cpu{core}/cpufreq"
        place = str(folder.resolve())  # cores that have one frequency have one folder
        if place in found or not folder.is_dir():
            continue
        found[place] = Frequency(
            number_of(folder / "scaling_cur_freq"),
            number_of(folder / "cpuinfo_max_freq"),
            _spent(text_of(folder / "stats/time_in_state") or ""),
        )
    return found


def _spent(table: str) -> dict[int, int]:
    """Read ``time_in_state``: a line per frequency, in kHz, and how long it was in force."""
    found: dict[int, int] = {}
    for line in table.splitlines():
        khz, _, ticks = line.partition(" ")
        if khz.isdecimal() and ticks.strip().isdecimal():
            found[int(khz)] = int(ticks)
    return found


def _temperature(root: Path) -> float | None:
    """Return the processor's highest temperature; of none that is known as its own, any zone's."""
    own: list[float] = []
    zones: list[float] = []
    for zone in in_order(root / "class/thermal", "thermal_zone*"):
        value = _degrees(zone / "temp")
        if value is not None:
            of_processor = _OF_PROCESSOR.search(text_of(zone / "type") or "")
            (own if of_processor else zones).append(value)
    for chip in in_order(root / "class/hwmon", "hwmon*"):
        if _OF_PROCESSOR.search(text_of(chip / "name") or ""):
            values = [_degrees(file) for file in in_order(chip, "temp*_input")]
            own += [value for value in values if value is not None]
    return max(own or zones, default=None)


def _degrees(file: Path) -> float | None:
    value = number_of(file)
    if value is None or not _POSSIBLE_C[0] < value / 1e3 < _POSSIBLE_C[1]:
        return None
    return value / 1e3


def _events(root: Path) -> dict[str, int]:
    """Return the counters of throttling of all cores; a package's stands at each of its cores."""
    found: dict[str, int] = {}
    for folder in in_order(root / "devices/system/cpu", "cpu[0-9]*/thermal_throttle"):
        for name in _COUNTERS:
            count = number_of(folder / name)
            if count is not None:
                found[f"{folder.parent.name}/{name}"] = count
    return found


def _cooling_states(root: Path) -> list[tuple[str, int]]:
    """Return the devices that can slow the processor, with their states; 0: it is not slowed."""
    found = []
    for folder in in_order(root / "class/thermal", "cooling_device*"):
        kind, state = text_of(folder / "type") or "", number_of(folder / "cur_state")
        if state is not None and _SLOWS_PROCESSOR.fullmatch(kind):
            found.append((kind, state))
    return found


def _voltage_alarm(root: Path) -> bool | None:
    """Return whether a Raspberry Pi's supply is too low; None: there is no such alarm."""
    for chip in in_order(root / "class/hwmon", "hwmon*"):
        if text_of(chip / "name") == "rpi_volt":
            alarm = number_of(chip / "in0_lcrit_alarm")
            return None if alarm is None else alarm != 0
    return None


def _board_bits(root: Path) -> int | None:
    """Return the bits of a Raspberry Pi's ``get_throttled``; None: it is none."""
    bits = _hexadecimal(text_of(root / _PI_FILE))
    program = None if bits is not None else shutil.which("vcgencmd")
    if program is None:
        return bits
    try:
        asked = subprocess.run(
            (program, "get_throttled"),
            capture_output=True,
            text=True,
            timeout=_VCGENCMD_S,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):  # not in the group `video`, or another board
        return None
    return _hexadecimal(asked.stdout.strip().partition("=")[2])


def _hexadecimal(text: str | None) -> int | None:
    try:
        return None if text is None else int(text, 16)
    except ValueError:
        return None
