"""NVIDIA's sensors through a module like ``pynvml``: this machine has no such GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from paretune.targets.worker import nvml
from paretune.targets.worker.energy_sources import choose
from paretune.targets.worker.nvml import GpuReading, energy_counter, read_gpu, slowed_by
from paretune.targets.worker.sensors import between, read


class NVMLError(Exception):
    """As pynvml's."""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, and what its GPU reports; ``missing`` are the functions that fail."""
    gpu = SimpleNamespace(
        mhz=1410, heat=61, reasons=0, violated=5, millijoules=7_000, missing=set(), count=1
    )
    module: Any = ModuleType("pynvml")

    def given(name: str, value: Any) -> Any:
        def ask(handle: Any, *_: Any) -> Any:
            if name in gpu.missing:
                raise NVMLError(name)
            return value()

        return ask

    def by_index(number: int) -> str:
        if number >= gpu.count:
            raise NVMLError("no such GPU")
        return f"handle {number}"

    module.NVMLError = NVMLError
    module.NVML_CLOCK_SM, module.NVML_TEMPERATURE_GPU = 1, 0
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetHandleByIndex = by_index
    module.nvmlDeviceGetHandleByUUID = lambda uuid: f"handle of {uuid}"
    module.nvmlDeviceGetClockInfo = given("clock", lambda: gpu.mhz)
    module.nvmlDeviceGetTemperature = given("temperature", lambda: gpu.heat)
    module.nvmlDeviceGetCurrentClocksThrottleReasons = given("reasons", lambda: gpu.reasons)
    module.nvmlDeviceGetViolationStatus = given(
        "violation", lambda: SimpleNamespace(violationTime=gpu.violated)
    )
    module.nvmlDeviceGetTotalEnergyConsumption = given("energy", lambda: gpu.millijoules)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml._first_gpu.cache_clear()
    yield SimpleNamespace(module=module, gpu=gpu)
    nvml._first_gpu.cache_clear()


def test_what_the_gpu_reports_is_read(driver: Any) -> None:
    assert read_gpu() == GpuReading(1410.0, 61.0, 0, 5)
    driver.gpu.missing |= {"clock", "violation"}
    assert read_gpu() == GpuReading(None, 61.0, 0, None)
    driver.gpu.missing |= {"temperature", "reasons"}
    found = read_gpu()
    assert found == GpuReading()
    assert not found.reports_throttling


def test_the_newer_name_of_a_function_is_used_where_it_exists(driver: Any) -> None:
    driver.module.nvmlDeviceGetCurrentClocksEventReasons = lambda handle: 0x40
    del driver.module.nvmlDeviceGetCurrentClocksThrottleReasons
    found = read_gpu()
    assert found is not None
    assert found.reasons == 0x40


@pytest.mark.parametrize(
    ("reasons", "causes"),
    [
        (0x0, []),
        (0x1, []),  # idle
        (0x4, []),  # the power limit, as usual under load
        (0x8, ["GPU: hardware slowdown"]),
        (0x20, ["GPU: temperature limit"]),
        (0x68, ["GPU: hardware slowdown", "GPU: temperature limit"]),
        (0x80, ["GPU: power brake"]),
    ],
)
def test_reasons_for_lower_clocks_are_causes_before_and_after(
    reasons: int, causes: list[str]
) -> None:
    calm, slowed = GpuReading(reasons=0), GpuReading(reasons=reasons)
    assert slowed_by(calm, slowed) == causes
    assert slowed_by(slowed, calm) == causes
    assert slowed_by(None, slowed) == causes


def test_time_at_the_temperature_limit_counts_between_two_readings(driver: Any) -> None:
    before = read(gpu=True)
    driver.gpu.violated, driver.gpu.heat = 9, 88
    found = between(before, read(gpu=True))
    assert found.throttled == ("GPU: temperature limit",)
    assert (found.gpu_mhz, found.gpu_temperature_c) == (1410.0, 88.0)
    assert found.reports_throttling
    assert "gpu" in found.reported
    without = between(read(), read())
    assert without.gpu_mhz is None, "another provider does not use it"


@pytest.mark.parametrize(
    ("visible", "handle"),
    [("1", "handle 1"), ("GPU-7f", "handle of GPU-7f"), ("", "handle 0"), ("0,1", "handle 0")],
)
def test_the_gpu_is_the_one_that_jobs_see(
    driver: Any, monkeypatch: pytest.MonkeyPatch, visible: str, handle: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver.gpu.count = 2
    assert nvml._first_gpu()[1] == handle


def test_without_a_driver_or_the_package_there_is_nothing(
    driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.gpu.count = 0
    assert read_gpu() is None
    assert isinstance(energy_counter(), str)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    nvml._first_gpu.cache_clear()
    assert read_gpu() is None
    assert "nvidia-ml-py" in str(energy_counter())


def test_its_energy_is_counted_beside_the_processors(driver: Any, tmp_path: Path) -> None:
    (source,) = choose("", tmp_path).values()
    source.begin()
    driver.gpu.millijoules += 2_500
    assert source.advance() == pytest.approx(2.5)
    driver.gpu.missing.add("energy")
    assert energy_counter() == "this NVIDIA GPU has no counter of energy"
