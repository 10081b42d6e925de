"""Details are typed in the program and the JSON of version 0.1 in files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.details import (
    CpuTaken,
    Details,
    Drift,
    Outliers,
    ProcessValue,
    SpreadUsed,
)
from paretune.core.measurement import Measurement
from paretune.core.part import Part
from tests.core.test_conditions import CONDITIONS

OLD: dict[str, Any] = {
    "early": True,
    "final": [0.5, 0.75],
    "rows": [3, 1, 2],
    "processes": [
        {"n": 2, "value": 10.5, "round": None},
        {
            "n": 2,
            "value": 9.0,
            "round": 1,
            "turns": [9.0, 9.1],
            "level": 0.9,
            "interference": {"others": 0.25, "stolen": 0.0},
        },
    ],
    "spread": {"from": 12},
    "interference": {"processes": 1, "others": 0.25, "stolen": 0.0},
    "outliers": {"severe_low": 0, "mild_low": 1, "mild_high": 0, "severe_high": 2},
    "drift": {"relative": 0.1, "p": 0.001, "drifts": True, "of": 2},
    "prompt_tokens": 64,
    "new_tokens": 32,
    "threads": 2,
    "protocol": {"name": "device-2", "samples": 6, "seconds": 3.0},
}
"""As version 0.1 wrote it."""
numbers = st.floats(-1e6, 1e6)
taken = st.builds(CpuTaken, numbers, numbers, st.none() | st.integers(1, 9))
values = st.builds(
    ProcessValue,
    st.integers(0, 99),
    numbers,
    st.none() | st.integers(1, 9),
    st.lists(numbers).map(tuple),
    st.none() | numbers,
    st.none() | taken,
    st.none() | CONDITIONS,
)
DETAILS = st.builds(
    Details,
    early=st.booleans(),
    final=st.none() | st.tuples(numbers, numbers),
    rows=st.none() | st.lists(st.integers() | st.text()).map(tuple),
    windows_seen=st.none() | st.lists(st.integers()).map(tuple),
    of_rows=st.none() | st.lists(st.tuples(*[st.integers()] * 3)).map(tuple),
    scores=st.none() | st.lists(numbers).map(tuple),
    processes=st.none() | st.lists(values).map(tuple),
    spread=st.none() | st.builds(SpreadUsed, st.integers()),
    turns=st.lists(numbers).map(tuple),
    interference=st.none() | taken,
    conditions=st.none() | CONDITIONS,
    outliers=st.none() | st.builds(Outliers, *[st.integers(0, 9)] * 4),
    drift=st.none()
    | st.builds(Drift, st.none() | numbers, numbers, st.booleans(), st.integers(1, 9)),
    data=st.none() | st.text(),
    extra=st.dictionaries(st.text(st.characters(codec="ascii"), min_size=30), st.integers()),
)


@given(DETAILS)
def test_through_json_they_are_the_same(details: Details) -> None:
    again = Details.from_json(json.loads(json.dumps(details.to_json())))
    assert vars(again) == vars(details)
    assert again == details
    assert hash(again) == hash(details)


def test_what_version_0_1_wrote_is_read_and_written_alike() -> None:
    m = Measurement("decode_ms_p50", 10.0, "ms", details=OLD)
    assert m.details.early
    assert m.details.final == (0.5, 0.75)
    assert m.details.processes is not None
    assert m.details.processes[1].disturbed
    assert m.details.processes[1].rescaled == pytest.approx(8.1)
    assert m.details.interference == CpuTaken(0.25, 0.0, processes=1)
    assert (m.details.prompt_tokens, m.details.new_tokens) == (64, 32)
    assert m.details.extra.keys() == {"threads", "protocol"}
    assert m.to_json()["details"] == OLD
    assert Measurement.from_json(m.to_json()) == m


def test_a_plug_in_may_give_and_read_a_mapping() -> None:
    given = {"rows": ["a", "b"], "final": [0.1, 0.2], "own": {"x": [1]}}
    m = Measurement("mine", 0.5, "fraction", details=given)
    assert m.details["own"] == {"x": [1]}
    assert m.details.get("absent") is None
    assert dict(m.details) == given
    assert m.details == given
    assert replace(m, value=0.25).details == given


@pytest.mark.parametrize(
    "own",
    [
        {"final": [0.1]},
        {"final": "wide"},
        {"rows": "abc"},
        {"processes": 3},
        {"drift": "none"},
        {"drift": {"relative": 1.0, "seen": True}},
        {"outliers": 2},
        {"interference": {"others": 0.5}},
        {"level": "warm"},
        {"level": True},
        {"prompt_tokens": "64"},
        {"data": ["tone"]},
        {"extra": 1},
        {"spread": 0.2},
    ],
)
def test_a_plug_ins_key_of_another_shape_is_its_own(own: dict[str, Any]) -> None:
    details = Details.from_json(own)
    assert details.extra == own
    assert details.to_json() == own
    assert vars(replace(details, extra={})) == vars(Details())


@dataclass(frozen=True)
class Own(Part):
    labels: list[str]
    threads: int
    streams: int | None = None


def test_an_evaluators_own_dataclass_lies_beside_the_fields() -> None:
    details = Details(rows=(1, 2)).adding(Own(["joy", "fear"], 2))
    assert details.to_json() == {"rows": [1, 2], "labels": ["joy", "fear"], "threads": 2}
    again = Details.from_json(json.loads(json.dumps(details.to_json())))
    assert again.part(Own) == Own(["joy", "fear"], 2)
    assert Details(rows=(1,)).part(Own) is None


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError):
        Measurement("a", 1.0, "ms").noting(earlier=True)
