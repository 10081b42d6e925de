"""NVIDIA's sensors, through the package ``nvidia-ml-py`` (module ``pynvml``), if it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")

_HEAT = "GPU: temperature limit"
_CAUSES = (
    (0x08, "GPU: hardware slowdown"),
    (0x20, _HEAT),
    (0x40, _HEAT),
    (0x80, "GPU: power brake"),
)
"""Of the reasons why clocks are lowered; a power limit (0x04) is usual under full load."""
_THERMAL_VIOLATION = 1
"""``NVML_PERF_POLICY_THERMAL``."""


@dataclass(frozen=True)
class GpuReading:
    """What a GPU reported at one moment; None: it does not report it.

    Attributes:
        mhz: Frequency of its processors.
        temperature_c: In degrees Celsius.
        reasons: Bits of why its clocks are lowered now.
        slowed_ns: How long the temperature has lowered them since the driver was loaded.
    """

    mhz: float | None = None
    temperature_c: float | None = None
    reasons: int | None = None
    slowed_ns: int | None = None

    @property
    def reports_throttling(self) -> bool:
        """Whether it reports why its clocks are lowered."""
        return self.reasons is not None or self.slowed_ns is not None


def slowed_by(before: GpuReading | None, after: GpuReading | None) -> list[str]:
    """Return why a GPU was slower than it can be between two readings, one text per cause."""
    bits = 0
    for one in (before, after):
        bits |= (one.reasons or 0) if one is not None else 0
    found = [cause for bit, cause in _CAUSES if bits & bit]
    past, now = (None if one is None else one.slowed_ns for one in (before, after))
    if past is not None and now is not None and now > past:
        found.append(_HEAT)
    return list(dict.fromkeys(found))


def read_gpu() -> GpuReading | None:
    """Return what the GPU that jobs use reports; None: there is none, or no package to ask with."""
    nvml, gpu = _first_gpu()
    if nvml is None:
        return None
    new = hasattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons")  # its name since 2023
    name = "Event" if new else "Throttle"
    reasons = getattr(nvml, f"nvmlDeviceGetCurrentClocks{name}Reasons")
    mhz = _asked(nvml, lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM))
    heat = _asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
    violated = _asked(nvml, lambda: nvml.nvmlDeviceGetViolationStatus(gpu, _THERMAL_VIOLATION))
    return GpuReading(
        mhz=None if mhz is None else float(mhz),
        temperature_c=None if heat is None else float(heat),
        reasons=_asked(nvml, lambda: int(reasons(gpu))),
        slowed_ns=None if violated is None else int(violated.violationTime),
    )


def energy_counter() -> Callable[[], int | None] | str:
    """Return what reads the counter of energy of the GPU, in millijoules, or why there is none."""
    nvml, gpu = _first_gpu()
    if nvml is None:
        return "there is no NVIDIA GPU that nvidia-ml-py can ask (or the package is missing)"

    def read() -> int | None:
        return _asked(nvml, lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)))

    return read if read() is not None else "this NVIDIA GPU has no counter of energy"


@cache
def _first_gpu() -> tuple[Any, Any]:
    """Return the module and the GPU that jobs use; twice None where there is none.

    Jobs see one GPU. A UUID in ``CUDA_VISIBLE_DEVICES`` names it for NVML, too; a number is NVML's
    where all GPUs are alike, which orders them by their bus.
    """
    try:
        pynvml = import_module("pynvml")
    except ImportError:
        return None, None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    try:
        pynvml.nvmlInit()
        if visible.startswith("GPU-"):
            return pynvml, pynvml.nvmlDeviceGetHandleByUUID(visible)
        number = int(visible) if visible.isdecimal() else 0
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(number)
    except pynvml.NVMLError:  # no driver, no such GPU
        return None, None


def _asked(nvml: Any, ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except nvml.NVMLError:  # this GPU does not report it
        return None
