"""Conditions are typed, and of several the worst count."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.conditions import Conditions, worst
from paretune.core.details import Details, ProcessValue
from paretune.core.measurement import Measurement

numbers = st.none() | st.floats(0, 5000, allow_nan=False)
CONDITIONS = st.builds(
    Conditions,
    frequency_mhz=numbers,
    most_mhz=numbers,
    temperature_c=numbers,
    gpu_mhz=numbers,
    gpu_temperature_c=numbers,
    throttled=st.lists(
        st.sampled_from(["GPU: temperature limit", "é ×", ""]), max_size=3, unique=True
    ).map(tuple),
    reports_throttling=st.booleans(),
    clock_jump_s=numbers,
    repeated=st.booleans(),
)


@given(CONDITIONS)
def test_through_json_they_are_the_same(conditions: Conditions) -> None:
    again = Conditions.from_json(json.loads(json.dumps(conditions.to_json())))
    assert again == conditions


@given(st.lists(CONDITIONS, min_size=1, max_size=4))
def test_the_worst_of_several_does_not_depend_on_their_order(several: list[Conditions]) -> None:
    found, turned = worst(several), worst(several[::-1])
    assert found is not None
    assert turned is not None
    known = [c.frequency_mhz for c in several if c.frequency_mhz is not None]
    assert found.frequency_mhz == min(known, default=None) == turned.frequency_mhz
    heats = [c.temperature_c for c in several if c.temperature_c is not None]
    assert found.temperature_c == max(heats, default=None) == turned.temperature_c
    assert set(found.throttled) == {cause for c in several for cause in c.throttled}
    assert worst([found, *several]) == found


def test_of_none_they_are_not_known() -> None:
    assert worst([]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"frequency_mhz": "fast"},
        {"frequency_mhz": True},
        {"temperature_c": math.inf},
        {"throttled": "heat"},
        {"throttled": [1]},
        {"repeated": 1},
        {"humidity": 0.5},
        3,
        ["frequency_mhz"],
    ],
)
def test_a_plug_ins_key_of_another_shape_is_its_own(wrong: Any) -> None:
    details = Details.from_json({"conditions": wrong})
    assert details.conditions is None
    assert details["conditions"] == wrong


def test_a_terminal_obeys_no_cause_of_a_far_device() -> None:
    found = Conditions.from_json({"throttled": ["hot\x1b[2J"]})
    assert found.throttled == ("hot\\x1b[2J",)


def test_a_process_that_was_throttled_in_a_round_is_disturbed() -> None:
    hot = Conditions(throttled=("board: throttled",))
    assert ProcessValue(3, 1.0, 2, conditions=hot).disturbed
    assert not ProcessValue(3, 1.0, None, conditions=hot).disturbed
    assert not ProcessValue(3, 1.0, 2, conditions=Conditions(temperature_c=50.0)).disturbed


def test_they_are_part_of_a_measurements_file() -> None:
    hot = Conditions(1500.0, 1800.0, 81.0, throttled=("board: throttled",))
    m = Measurement("decode_ms_p50", 3.0, "ms").noting(conditions=hot)
    again = Measurement.from_json(json.loads(json.dumps(m.to_json())))
    assert again == m
    assert again.details.conditions == hot
