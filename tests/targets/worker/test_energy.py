"""Energy is counted on made-up trees of ``/sys``: overflow, what cannot be read, what is chosen."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.energy import NoEnergyCounterError
from paretune.targets.worker import energy
from paretune.targets.worker.energy import Meter, open_meter, problem
from paretune.targets.worker.energy_sources import (
    Counter,
    PowerSensor,
    SensorError,
    Source,
    choose,
)
from tests.sysfs_trees import ina219, ina3221, rapl, write_tree

PACKAGE = "class/powercap/intel-rapl:0/energy_uj"


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``/sys`` is."""
    root = tmp_path / "sys"
    monkeypatch.setenv("PARETUNE_SYSFS", str(root))
    return root


def one(names: str, root: Path) -> Source:
    (source,) = choose(names, root).values()
    return source


def test_packages_and_their_memory_are_added_up(tree: Path) -> None:
    """Not the cores inside a package, nor the platform around it, nor a package seen twice."""
    write_tree(tree, rapl(uj=1_000_000))
    source = one("rapl", tree)
    assert source.about == "RAPL (package-0, package-1, dram, dram)"
    source.begin()
    write_tree(tree, rapl(uj=3_500_000))
    assert source.advance() == pytest.approx(4 * 2.5)
    assert source.advance() == 0.0
    without = one("", write_tree(tree.parent / "client", rapl(dram=False)))
    assert without.about == "RAPL (package-0, package-1)"


def test_an_overflow_is_corrected_by_the_range(tree: Path) -> None:
    write_tree(tree, rapl(uj=9_000_000, size=10_000_000))
    source = one("rapl", tree)
    source.begin()
    write_tree(tree, {PACKAGE: 2_000_000})
    assert source.advance() == pytest.approx(3.0)


@pytest.mark.parametrize("size", [0, -1, "none"])
def test_a_counter_that_goes_back_without_a_range_gives_no_value(tree: Path, size: object) -> None:
    write_tree(tree, rapl(uj=9_000_000) | {"class/powercap/intel-rapl:0/max_energy_range_uj": size})
    source = one("rapl", tree)
    source.begin()
    write_tree(tree, {PACKAGE: 2_000_000})
    with pytest.raises(SensorError, match="package-0 went back from 9000000 to 2000000"):
        source.advance()


@given(st.lists(st.integers(0, 999), min_size=1, max_size=30), st.integers(0, 999))
def test_whatever_is_counted_is_found_again(steps: list[int], start: int) -> None:
    """A counter that overflows, and is read at least once per turn of it."""
    state = [start]
    counter = Counter("it", 0.5, lambda: state[0] % 1000, size=1000)
    counter.begin()
    found = 0.0
    for step in steps:
        state[0] += step
        found += counter.advance()
    assert found == 0.5 * sum(steps)


def test_a_counter_that_root_alone_may_read_says_what_to_do() -> None:
    """As it is by default: the file is there, and other users may not open it."""
    with tempfile.TemporaryDirectory() as folder, _as_another_user(folder):
        root = write_tree(Path(folder) / "sys", rapl())
        (root / PACKAGE).chmod(0o000)
        with pytest.raises(NoEnergyCounterError, match="Permission denied") as refused:
            choose("rapl", root)
        assert PACKAGE in refused.value.message
        assert "chmod a+r" in str(refused.value.hint)


@contextmanager
def _as_another_user(folder: str) -> Iterator[None]:
    """Lose the rights of root for a moment, where the tests have them."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_another_reason_for_not_reading_is_named(tree: Path) -> None:
    write_tree(tree, rapl())
    (tree / PACKAGE).unlink()
    (tree / PACKAGE).symlink_to("energy_uj")
    with pytest.raises(NoEnergyCounterError, match="Too many levels of symbolic links"):
        choose("rapl", tree)
    (tree / PACKAGE).unlink()
    write_tree(tree, {PACKAGE: "busy"})
    with pytest.raises(NoEnergyCounterError, match="holds no number: 'busy'"):
        choose("rapl", tree)


def test_the_boards_own_sensor_is_used_where_there_is_no_rapl(tree: Path) -> None:
    write_tree(tree, ina3221())
    source = one("", tree)
    assert isinstance(source, PowerSensor)
    assert source.about == "ina3221/VDD_IN"
    assert source.watts() == pytest.approx(10.0)
    assert list(choose("", write_tree(tree, rapl()))) == ["rapl"]
    assert one("hwmon:ina3221/VDD_SOC", tree).about == "ina3221/VDD_SOC"
    assert list(choose("rapl+hwmon", tree)) == ["rapl", "hwmon"]


def test_a_chip_that_computes_the_power_is_read_by_it(tree: Path) -> None:
    source = one("hwmon", write_tree(tree, ina219()))
    assert isinstance(source, PowerSensor)
    assert (source.about, source.watts()) == ("ina219/power1", pytest.approx(3.2))


def test_a_counter_of_a_chip_is_better_than_its_power(tree: Path) -> None:
    files = ina219() | {"class/hwmon/hwmon4/energy1_input": 5_000_000}
    source = one("hwmon", write_tree(tree, files))
    assert isinstance(source, Counter)
    source.begin()
    write_tree(tree, {"class/hwmon/hwmon4/energy1_input": 7_000_000})
    assert source.advance() == pytest.approx(2.0)


def test_the_power_of_a_graphics_card_is_none_of_the_board(tree: Path) -> None:
    card = {"class/hwmon/hwmon0/name": "amdgpu", "class/hwmon/hwmon0/power1_average": 9_000_000}
    write_tree(tree, card)
    with pytest.raises(NoEnergyCounterError, match=r"of the board .*found: amdgpu/power1"):
        choose("hwmon", tree)
    assert one("hwmon:amdgpu", tree).about == "amdgpu/power1"


def test_of_several_sensors_one_must_be_chosen(tree: Path) -> None:
    write_tree(tree, ina219(4) | ina219(5))
    for place, address in ((4, "1-0040"), (5, "1-0041")):
        (tree / f"devices/i2c/{address}").mkdir(parents=True)
        (tree / f"class/hwmon/hwmon{place}/device").symlink_to(tree / f"devices/i2c/{address}")
    with pytest.raises(NoEnergyCounterError, match="several power sensors") as refused:
        choose("", tree)
    assert "hwmon:ina219@1-0040/power1" in str(refused.value.hint)
    assert one("hwmon:ina219@1-0041/power1", tree).about == "ina219@1-0041/power1"


def test_where_there_is_nothing_each_source_is_named(tree: Path) -> None:
    with pytest.raises(NoEnergyCounterError) as refused:
        choose("", tree)
    for what in ("no RAPL counter", "no power sensor of the board", "no NVIDIA GPU"):
        assert what in refused.value.message
    with pytest.raises(NoEnergyCounterError, match="no power sensor 'x'"):
        choose("hwmon:x", tree)
    with pytest.raises(NoEnergyCounterError) as strange:
        choose("rapel", tree)
    assert "rapl" in str(strange.value.hint)


# --- meters ------------------------------------------------------------------------------------


def test_a_meter_adds_up_what_is_counted_while_it_runs(tree: Path) -> None:
    write_tree(tree, rapl(uj=0, dram=False))
    meter = open_meter()
    assert (meter.joules, meter.reason) == (None, "no energy was counted")
    meter.stop()  # it was not started
    for n in range(2):
        write_tree(tree, {PACKAGE: 10_000_000 * n})
        meter.start()
        time.sleep(meter.least_s)
        write_tree(tree, {PACKAGE: 10_000_000 * n + 4_000_000})
        meter.stop()
    assert meter.joules == pytest.approx(8.0), "and not what was counted between the two"
    assert meter.seconds >= 2 * meter.least_s
    assert meter.reason is None
    assert meter.source == "RAPL (package-0, package-1)"


def test_a_sum_of_sources_needs_each_of_them() -> None:
    moves, stands = iter(range(100)), Counter("the other", 1.0, lambda: 7)
    meter = Meter([Counter("one", 1.0, lambda: next(moves)), stands])
    meter.start()
    time.sleep(meter.least_s)
    meter.stop()
    assert meter.source == "one + the other"
    assert meter.joules is None
    assert "the other did not move" in str(meter.reason)


def test_what_fails_meanwhile_gives_no_value_and_no_error(tree: Path) -> None:
    write_tree(tree, rapl())
    meter = open_meter()
    meter.start()
    time.sleep(meter.least_s)
    (tree / PACKAGE).unlink()
    meter.stop()
    assert meter.joules is None
    assert meter.reason == "package-0 could not be read"


def test_a_time_that_is_too_short_gives_no_value(tree: Path) -> None:
    write_tree(tree, ina219())
    meter = open_meter()
    meter.start()
    meter.stop()
    assert meter.joules is None
    assert "are too short: ina219/power1 needs 2 s" in str(meter.reason)


def test_a_power_sensor_is_sampled_and_integrated() -> None:
    threads = threading.active_count()
    sensor = PowerSensor("it", lambda: 5.0, least_s=0.0, every_s=0.001)
    meter = Meter([sensor])
    meter.start()
    time.sleep(0.05)
    meter.stop()
    assert meter.joules == pytest.approx(5.0 * meter.seconds, rel=0.2, abs=0.05)
    assert threading.active_count() == threads


def test_power_that_rises_is_integrated_by_the_trapezoidal_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("paretune.targets.worker.energy_sources.time.monotonic", lambda: now[0])
    sensor = PowerSensor("it", lambda: 10.0 * now[0])
    sensor.begin()
    total = 0.0
    for moment in (0.5, 1.0, 3.0):
        now[0] = moment
        total += sensor.advance()
    assert total == pytest.approx(45.0)


# --- before a search ---------------------------------------------------------------------------


def test_a_device_without_a_counter_is_a_problem(tree: Path) -> None:
    message, hint = problem("", ["cpu"])
    assert "no RAPL counter" in message
    assert hint == ""


def test_a_counter_that_stands_still_is_a_problem(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_MOVES_WITHIN_S", 0.02)
    write_tree(tree, rapl(uj=0))
    message, hint = problem("", ["cpu"])
    assert message.startswith("RAPL (package-0, package-1, dram, dram) does not count")
    assert "virtual machine" in hint


def test_a_counter_that_moves_is_none(tree: Path) -> None:
    with moving(tree):
        assert problem("", ["cpu"]) == []
        message, hint = problem("", ["cpu", "cuda"])
        assert "the provider 'cuda'" in message
        assert "nvidia-ml-py" in hint
        assert problem("rapl", ["dml"])


def test_a_sensor_of_the_whole_board_counts_for_each_provider(tree: Path) -> None:
    write_tree(tree, ina3221())
    assert problem("", ["cpu", "cuda", "dml"]) == []


@contextmanager
def moving(root: Path) -> Iterator[None]:
    """Let the counters of a tree rise while the block runs."""
    write_tree(root, rapl(uj=0))
    ended = threading.Event()

    def rise() -> None:
        count = 0
        while not ended.wait(0.002):
            count += 1000
            for file in (root / "class/powercap").glob("intel-rapl:*/energy_uj"):
                new = file.with_suffix(".new")  # as whole as the kernel's files are
                new.write_text(f"{count}\n")
                new.replace(file)

    thread = threading.Thread(target=rise)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
