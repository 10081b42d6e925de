"""Made-up trees of ``/sys``, with the files of machines that this one is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paretune.core.resources import usable_cores

CPU = "devices/system/cpu"


def write_tree(root: Path, files: Mapping[str, object]) -> Path:
    """Write files, each with a line; returns the root."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def intel(temperature: int = 61_000, events: int = 3, khz: int = 3_100_000) -> dict[str, object]:
    """A notebook: a core temperature per hwmon channel, counters of throttling, two cores."""
    files: dict[str, object] = {
        "class/hwmon/hwmon3/name": "coretemp",
        "class/hwmon/hwmon3/temp1_input": temperature,
        "class/hwmon/hwmon3/temp2_input": temperature - 4_000,
        "class/hwmon/hwmon1/name": "nvme",
        "class/hwmon/hwmon1/temp1_input": 99_000,
        "class/thermal/thermal_zone0/type": "acpitz",
        "class/thermal/thermal_zone0/temp": 27_800,
        "class/thermal/cooling_device0/type": "TCC Offset",
        "class/thermal/cooling_device0/cur_state": 7,
        "class/thermal/cooling_device1/type": "Processor",
        "class/thermal/cooling_device1/cur_state": 0,
        "class/thermal/cooling_device2/type": "intel_powerclamp",
        "class/thermal/cooling_device2/cur_state": -1,
    }
    for place, core in enumerate(usable_cores()[:2]):
        folder = f"{CPU}/cpu{core}"
        files[f"{folder}/cpufreq/scaling_cur_freq"] = khz - 400_000 * place
        files[f"{folder}/cpufreq/cpuinfo_max_freq"] = 3_800_000
        files[f"{folder}/thermal_throttle/core_throttle_count"] = events
        files[f"{folder}/thermal_throttle/package_throttle_count"] = events
    return files


def raspberry_pi(
    bits: int | None = 0,
    temperature: int = 58_400,
    cooling: int = 0,
    ticks: tuple[int, int] = (9, 1),
) -> dict[str, object]:
    """A board whose cores have one frequency, which the kernel counts."""
    files: dict[str, object] = {
        "class/thermal/thermal_zone0/type": "cpu-thermal",
        "class/thermal/thermal_zone0/temp": temperature,
        "class/thermal/cooling_device0/type": "cpufreq-cpu0",
        "class/thermal/cooling_device0/cur_state": cooling,
        "class/hwmon/hwmon1/name": "rpi_volt",
        "class/hwmon/hwmon1/in0_lcrit_alarm": 0,
    }
    if bits is not None:
        files["devices/platform/soc/soc:firmware/get_throttled"] = f"{bits:x}"
    for core in usable_cores():
        folder = f"{CPU}/cpu{core}/cpufreq"
        files[f"{folder}/scaling_cur_freq"] = 600_000
        files[f"{folder}/cpuinfo_max_freq"] = 1_800_000
        files[f"{folder}/stats/time_in_state"] = f"600000 {ticks[0]}\n1800000 {ticks[1]}"
    return files


def rapl(uj: int = 1_000_000, size: int = 262_143_328_850, dram: bool = True) -> dict[str, object]:
    """Two packages, each with cores and memory, and the whole platform beside them."""
    names = {"0": "package-0", "0:0": "core", "1": "package-1", "1:0": "uncore", "2": "psys"}
    names |= {"0:1": "dram", "1:1": "dram"} if dram else {}
    files: dict[str, object] = {}
    for zone, name in names.items():
        folder = f"class/powercap/intel-rapl:{zone}"
        files[f"{folder}/name"] = name
        files[f"{folder}/energy_uj"] = uj
        files[f"{folder}/max_energy_range_uj"] = size
    files["class/powercap/intel-rapl-mmio:0/name"] = "package-0"
    files["class/powercap/intel-rapl-mmio:0/energy_uj"] = uj
    files["class/powercap/intel-rapl/enabled"] = 1
    return files


def ina3221() -> dict[str, object]:
    """A board's chip of three channels of voltage and current, one of which is the whole input."""
    files: dict[str, object] = {"class/hwmon/hwmon2/name": "ina3221"}
    labels = {1: "VDD_IN", 2: "VDD_CPU_GPU_CV", 3: "VDD_SOC"}
    for channel, label in labels.items():
        files[f"class/hwmon/hwmon2/in{channel}_label"] = label
        files[f"class/hwmon/hwmon2/in{channel}_input"] = 5_000  # mV
        files[f"class/hwmon/hwmon2/curr{channel}_input"] = 2_000 // channel  # mA
    files["class/hwmon/hwmon2/in7_label"] = "sum of shunt voltages"
    files["class/hwmon/hwmon2/in7_input"] = 3
    return files


def ina219(place: int = 4, microwatts: int = 3_200_000) -> dict[str, object]:
    """A chip that computes the power itself."""
    folder = f"class/hwmon/hwmon{place}"
    return {
        f"{folder}/name": "ina219",
        f"{folder}/in1_input": 5_000,
        f"{folder}/curr1_input": 640,
        f"{folder}/power1_input": microwatts,
    }
