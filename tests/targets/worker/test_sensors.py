"""What sensors report, read from made-up trees of ``/sys``: this machine may have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.conditions import Conditions
from paretune.core.resources import usable_cores
from paretune.targets.worker import sensors
from paretune.targets.worker.sensors import between, observing, read
from tests.sysfs_trees import CPU, intel, raspberry_pi, write_tree


@pytest.fixture(autouse=True)
def no_vcgencmd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of programs where the test may put its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def seen(root: Path, later: dict[str, object]) -> Conditions:
    """Return what is reported of the time in which a tree changes."""
    before = read(root)
    write_tree(root, later)
    return between(before, read(root))


def test_a_device_without_sensors_reports_nothing(tmp_path: Path) -> None:
    found = seen(tmp_path / "sys", {})
    assert found == Conditions()
    assert found.reported == ()
    assert found.to_json() == {}


def test_the_fastest_core_and_the_processors_own_temperature_count(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "sys", intel(temperature=61_000))
    found = seen(root, {"class/hwmon/hwmon3/temp2_input": 72_500})
    assert (found.frequency_mhz, found.most_mhz) == (3100.0, 3800.0)
    assert found.temperature_c == 72.5, "neither the disk's nor the cooler temperature before"
    assert found.throttled == ()
    assert found.reported == ("frequency", "temperature", "throttling")


@pytest.mark.parametrize("name", ["core_throttle_count", "package_throttle_count"])
def test_a_counter_of_throttling_that_rose_is_a_cause(tmp_path: Path, name: str) -> None:
    root = write_tree(tmp_path / "sys", intel(events=3))
    core = usable_cores()[0]
    found = seen(root, {f"{CPU}/cpu{core}/thermal_throttle/{name}": 4})
    assert found.throttled == ("processor: temperature limit",)


def test_a_counter_that_was_set_back_or_came_later_is_none(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "sys", intel(events=3))
    core = usable_cores()[0]
    folder = f"{CPU}/cpu{core}/thermal_throttle"
    assert not seen(root, {f"{folder}/core_throttle_count": 0}).throttled
    assert not seen(root, {f"{CPU}/cpu999/thermal_throttle/core_throttle_count": 8}).throttled


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cooling_device_of_the_processor_is_a_cause(tmp_path: Path, when: str) -> None:
    state = "class/thermal/cooling_device0/cur_state"
    hot, cold = {state: 2}, {state: 0}
    root = write_tree(tmp_path / "sys", raspberry_pi() | (hot if when == "before" else cold))
    found = seen(root, cold if when == "before" else hot)
    assert found.throttled == ("processor: cooling device cpufreq-cpu0",)


def test_a_fan_that_turns_or_an_offset_is_no_cause(tmp_path: Path) -> None:
    fan = {
        "class/thermal/cooling_device9/type": "pwm-fan",
        "class/thermal/cooling_device9/cur_state": 4,
    }
    assert not seen(write_tree(tmp_path / "sys", intel() | fan), {}).throttled
    only_fan = seen(write_tree(tmp_path / "other", fan), {})
    assert not only_fan.reports_throttling


@pytest.mark.parametrize(
    ("before", "after", "causes"),
    [
        (0x0, 0x0, ()),
        (0x50000, 0x50000, ()),  # since the board started, and not now
        (0x0, 0x5, ("board: under-voltage", "board: throttled")),
        (0x5, 0x50000, ("board: under-voltage", "board: throttled")),
        (0x0, 0x20000, ("board: frequency capped",)),  # between the two
        (0x80000, 0xC0000, ("board: throttled",)),
        (0x0, 0x8, ("board: soft temperature limit",)),
        (0x50000, 0x0, ()),  # somebody else has cleared them
    ],
)
def test_the_bits_of_a_raspberry_pi(
    tmp_path: Path, before: int, after: int, causes: tuple[str, ...]
) -> None:
    root = write_tree(tmp_path / "sys", raspberry_pi(bits=before))
    assert seen(root, raspberry_pi(bits=after)).throttled == causes


def test_vcgencmd_is_asked_where_there_is_no_file(tmp_path: Path, no_vcgencmd: Path) -> None:
    program = no_vcgencmd / "vcgencmd"
    program.write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x2\n")
    program.chmod(0o755)
    root = write_tree(tmp_path / "sys", raspberry_pi(bits=None))
    assert seen(root, {}).throttled == ("board: frequency capped",)
    program.write_text("#!/bin/sh\necho VCHI initialization failed; exit 255\n")
    assert seen(root, {}).throttled == ()
    assert read(write_tree(tmp_path / "none", {})).board is None


def test_the_alarm_of_the_supply_is_a_cause(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "sys", raspberry_pi(bits=None))
    assert seen(root, {"class/hwmon/hwmon1/in0_lcrit_alarm": 1}).throttled == (
        "board: under-voltage",
    )


def test_the_mean_frequency_is_counted_where_the_kernel_does(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "sys", raspberry_pi(ticks=(900, 100)))
    found = seen(root, raspberry_pi(ticks=(950, 250)))  # 50 ticks slow, 150 fast
    assert found.frequency_mhz == 1500.0
    assert found.most_mhz == 1800.0


def test_less_than_a_tick_is_the_frequency_at_the_end(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "sys", raspberry_pi())
    assert seen(root, {}).frequency_mhz == 600.0


def test_what_cannot_be_read_or_cannot_be_is_left_out(tmp_path: Path) -> None:
    core = usable_cores()[0]
    root = write_tree(
        tmp_path / "sys",
        {
            f"{CPU}/cpu{core}/cpufreq/scaling_cur_freq": "<unknown>",
            "class/thermal/thermal_zone0/type": "cpu-thermal",
            "class/thermal/thermal_zone0/temp": -273_200,
            "class/thermal/thermal_zone1/type": "cpu-thermal",
            "class/thermal/thermal_zone1/temp": "",
            "class/thermal/cooling_device0/type": "Processor",
            "class/thermal/cooling_device0/cur_state": "error",
            "devices/platform/soc/soc:firmware/get_throttled": "what",
        },
    )
    (root / "class/thermal/thermal_zone2/temp").mkdir(parents=True)
    assert seen(root, {}) == Conditions()


def test_a_clock_that_is_set_is_noted() -> None:
    before = replace(read(), wall=1000.0, monotonic=5.0)
    for passed, jump in [(10.0, None), (10.9, None), (3610.0, 3600.0), (-50.0, -60.0)]:
        found = between(before, replace(before, wall=1000.0 + passed, monotonic=15.0))
        assert found.clock_jump_s == jump


def test_the_variable_names_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path / "host", raspberry_pi())
    monkeypatch.setenv("PARETUNE_SYSFS", str(root))
    with observing() as observed:
        write_tree(root, raspberry_pi(bits=4, temperature=81_000))
    assert observed.conditions.throttled == ("board: throttled",)
    assert observed.conditions.temperature_c == 81.0
    monkeypatch.setenv("PARETUNE_SYSFS", "")
    assert str(sensors.sysfs_root()) == "/sys"


def test_this_machines_own_sensors_can_be_read() -> None:
    with observing() as observed:
        pass
    assert Conditions.from_json(observed.conditions.to_json()) == observed.conditions


counts = st.dictionaries(st.integers(1, 9), st.integers(0, 99), max_size=4)


@given(counts, counts)
def test_a_mean_frequency_lies_between_those_that_were_used(
    before: dict[int, int], more: dict[int, int]
) -> None:
    after = {khz: before.get(khz, 0) + more.get(khz, 0) for khz in before | more}
    mean = sensors._mean(before, after)
    used = [khz for khz, count in more.items() if count]
    if used:
        assert mean is not None
        assert min(used) <= mean <= max(used)
    else:
        assert mean is None
