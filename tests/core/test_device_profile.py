import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.device_profile import Arithmetic, Bandwidth, DeviceProfile, profile_file
from paretune.core.errors import StateError

KB, MB = 1 << 10, 1 << 20
PROFILE = DeviceProfile(
    fingerprint="sha256:ab12",
    when="2026-01-02T03:04:05+00:00",
    noise_floor=0.02,
    bandwidth=(
        # A tiny set pays for the calls: caches are no slower than what lies behind them.
        Bandwidth(1, 256 * KB, 60e9),
        Bandwidth(1, 4 * MB, 100e9),
        Bandwidth(1, 16 * MB, 90e9),
        Bandwidth(1, 64 * MB, 20e9),
        Bandwidth(2, 256 * KB, 90e9),
        Bandwidth(2, 4 * MB, 190e9),
        Bandwidth(2, 16 * MB, 180e9),
        Bandwidth(2, 64 * MB, 30e9),
    ),
    arithmetic=(
        Arithmetic("fp32", 1, 1024, 100e9),
        Arithmetic("fp32", 2, 1024, 190e9),
        Arithmetic("fp32", 2, 64, 170e9),
        Arithmetic("int8", 1, 1024, 300e9),
    ),
    timer_s=3e-8,
    process_start_s=0.15,
    noise={"memory": (0.003, 0.0031), "arithmetic": (0.005, 0.0052)},
    others=0.01,
    stolen=0.002,
)

RATES = st.floats(1e6, 1e12)


@st.composite
def profiles(draw: st.DrawFn) -> DeviceProfile:
    """A profile with any rates; every size was measured with every number of threads."""
    counts = draw(st.sets(st.integers(1, 8), min_size=1, max_size=3))
    sizes = draw(st.sets(st.integers(1 << 10, 1 << 30), min_size=1, max_size=4))
    points = tuple(Bandwidth(n, size, draw(RATES)) for n in counts for size in sizes)
    return replace(PROFILE, bandwidth=points)


PROFILES = profiles()
THREADS, SIZES = st.integers(1, 16), st.integers(1, 1 << 32)


def at(profile: DeviceProfile, threads: int, size: float) -> float:
    rate = profile.bandwidth_at(threads, size)
    assert rate is not None
    return rate


def most(profile: DeviceProfile, threads: int, size: float) -> float:
    rate = profile.most_bandwidth(threads, size)
    assert rate is not None
    return rate


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert DeviceProfile.load(tmp_path, PROFILE.fingerprint) is None
    file = PROFILE.save(tmp_path)
    assert file == tmp_path / "devices" / "sha256-ab12.json"
    assert DeviceProfile.load(tmp_path, PROFILE.fingerprint) == PROFILE
    assert DeviceProfile.load(tmp_path, "sha256:cd34") is None
    newer = replace(PROFILE, noise_floor=0.03)
    newer.save(tmp_path)
    assert DeviceProfile.load(tmp_path, PROFILE.fingerprint) == newer
    assert [f.name for f in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        '{"schema": 1}',
        json.dumps({**PROFILE.to_json(), "schema": 2}),
        json.dumps({**PROFILE.to_json(), "when": "yesterday"}),
        json.dumps({**PROFILE.to_json(), "when": "2026-01-02T03:04:05"}),
    ],
)
def test_a_damaged_profile_is_told(tmp_path: Path, damage: str) -> None:
    file = profile_file(tmp_path, PROFILE.fingerprint)
    file.parent.mkdir()
    file.write_text(damage)
    with pytest.raises(StateError, match=r"sha256-ab12\.json cannot be read"):
        DeviceProfile.load(tmp_path, PROFILE.fingerprint)


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "devices").write_text("a file")
    with pytest.raises(StateError, match="cannot be written"):
        PROFILE.save(tmp_path)


def test_bandwidth_by_working_set() -> None:
    assert at(PROFILE, 1, 4 * MB) == 100e9
    assert at(PROFILE, 1, 1) == at(PROFILE, 1, 256 * KB) == 100e9
    assert at(PROFILE, 1, 32 * MB) == pytest.approx(55e9)
    assert at(PROFILE, 1, 1 << 40) == 20e9
    assert at(PROFILE, 2, 16 * MB) == 180e9
    # Nothing says that a cache does not hold 63 MB.
    assert most(PROFILE, 1, 63 * MB) == 90e9
    assert most(PROFILE, 1, 64 * MB) == 20e9


@given(PROFILES, PROFILES, THREADS, SIZES)
def test_a_roof_once_shown_is_not_lowered(
    newer: DeviceProfile, earlier: DeviceProfile, threads: int, size: int
) -> None:
    both = newer.with_roofs_of(earlier)
    rates = {(b.threads, b.bytes): b.rate for b in both.bandwidth}
    for point in (*newer.bandwidth, *earlier.bandwidth):
        assert rates[point.threads, point.bytes] >= point.rate
    assert set(rates.values()) <= {b.rate for b in (*newer.bandwidth, *earlier.bandwidth)}
    same = {b.threads for b in newer.bandwidth} == {b.threads for b in earlier.bandwidth}
    if same and {b.bytes for b in newer.bandwidth} == {b.bytes for b in earlier.bandwidth}:
        for profile in (newer, earlier):
            assert most(both, threads, size) >= most(profile, threads, size)


def test_what_is_not_a_roof_is_the_newer_ones() -> None:
    slower = replace(PROFILE, noise_floor=0.2, arithmetic=(Arithmetic("fp32", 2, 1024, 90e9),))
    both = slower.with_roofs_of(PROFILE)
    assert both.noise_floor == 0.2
    assert both.peak("fp32", 2) == 190e9


def test_peaks() -> None:
    assert PROFILE.peak("fp32", 1) == 100e9
    assert PROFILE.peak("fp32", 2) == PROFILE.peak("fp32", 64) == 190e9
    assert PROFILE.peak(None, 2) == 300e9
    assert PROFILE.peak("bf16", 2) is None


def test_without_figures_there_is_no_roof() -> None:
    empty = replace(PROFILE, bandwidth=(), arithmetic=())
    assert empty.bandwidth_at(1, MB) is None
    assert empty.most_bandwidth(1, MB) is None
    assert empty.peak("fp32", 1) is None


def test_a_profile_of_a_busy_machine_is_no_roof() -> None:
    assert PROFILE.calm
    assert not replace(PROFILE, others=0.2).calm
    assert not replace(PROFILE, stolen=0.2).calm


@given(PROFILES)
def test_no_answer_lies_below_what_was_measured(profile: DeviceProfile) -> None:
    for point in profile.bandwidth:
        assert at(profile, point.threads, point.bytes) >= point.rate
        assert most(profile, point.threads, point.bytes) >= point.rate


@given(PROFILES, THREADS, SIZES, SIZES)
def test_a_larger_set_is_never_read_faster(
    profile: DeviceProfile, threads: int, one: int, two: int
) -> None:
    small, large = sorted((one, two))
    tiny_error = 1 + 1e-12
    assert at(profile, threads, small) * tiny_error >= at(profile, threads, large)
    assert most(profile, threads, small) >= most(profile, threads, large)


@given(PROFILES, THREADS, THREADS, SIZES)
def test_more_threads_are_never_slower_and_the_most_is_the_most(
    profile: DeviceProfile, one: int, two: int, size: int
) -> None:
    few, many = sorted((one, two))
    assert most(profile, few, size) <= most(profile, many, size)
    assert at(profile, few, size) <= most(profile, few, size) * (1 + 1e-12)
    assert most(profile, many, size) <= max(p.rate for p in profile.bandwidth)


@given(PROFILES)
def test_json_and_back(profile: DeviceProfile) -> None:
    assert DeviceProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    assert math.isfinite(profile.noise_floor)
