import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.errors import UsageError
from paretune.core.measurement import Measurement
from paretune.search.constraints import Limit, parse_constraint, parse_where

numbers = st.floats(allow_nan=False, allow_infinity=False)
ops = st.sampled_from(["<=", "<", ">=", ">"])
metrics = st.from_regex(r"[a-z_][a-z0-9_]{0,10}(@[1-9][0-9]{0,3})?", fullmatch=True)


@given(metrics, ops, numbers)
def test_an_absolute_one_is_read_back(metric: str, op: str, number: float) -> None:
    read = parse_constraint(f"{metric} {op} {number!r}")
    assert (read.metric, read.op, read.number, read.relative) == (metric, op, number, None)
    limit = read.resolve({})
    assert limit is not None
    assert limit.value == number


@given(ops, st.sampled_from("+-*"), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_a_relative_one_follows_the_baseline(op: str, sign: str, by: float, base: float) -> None:
    read = parse_constraint(f"m{op}baseline{sign}{by!r}")
    limit = read.resolve({"m": base})
    assert limit is not None
    assert limit.value == {"+": base + by, "-": base - by, "*": base * by}[sign]
    assert read.resolve({"other": 1.0}) is None


@given(st.text(max_size=40))
def test_any_text_is_a_constraint_or_a_clean_error(text: str) -> None:
    try:
        parse_constraint(text)
    except UsageError as error:
        assert "constraint" in error.message
        assert error.hint is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "name at the beginning"),
        ("accuracy", "expected <=, <, >= or > at column 9"),
        ("accuracy >= ", "expected a number, or baseline"),
        ("accuracy >= baseline / 2", "expected a number, or baseline"),
        ("accuracy >= __import__('os')", "expected a number, or baseline"),
        ("a >= 1e999", "not finite"),
        ("a" * 300, "longer than"),
    ],
)
def test_what_is_wrong_is_said(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_constraint(text)


def test_a_comma_means_and() -> None:
    assert [c.text for c in parse_where("size_mb<=120, accuracy >= baseline")] == [
        "size_mb<=120",
        "accuracy >= baseline",
    ]


@given(ops, numbers, numbers)
def test_a_value_holds_or_has_a_violation(op: str, bound: float, value: float) -> None:
    limit = Limit("m", op, bound, "t")
    assert limit.holds(value) == (limit.violation(value) == 0)


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_never_holds(value: float | None) -> None:
    for op in ("<=", "<", ">=", ">"):
        assert not Limit("m", op, 1.0, "t").holds(value)
        assert Limit("m", op, 1.0, "t").violation(value) == math.inf


@pytest.mark.parametrize(
    ("op", "low", "high", "sure"),
    [
        (">=", 0.1, 0.4, True),
        (">=", 0.1, 0.5, False),
        (">=", 0.6, 0.9, False),
        ("<=", 0.6, 0.9, True),
        ("<=", 0.5, 0.9, False),
        ("<", 0.5, 0.9, True),
    ],
)
def test_sure_means_the_whole_interval(op: str, low: float, high: float, sure: bool) -> None:
    m = Measurement("m", (low + high) / 2, "", low, high)
    assert Limit("m", op, 0.5, "t").surely_broken(m) is sure


def test_without_an_interval_only_an_exact_value_is_sure() -> None:
    limit = Limit("m", "<=", 1.0, "t")
    assert limit.surely_broken(Measurement("m", 2.0, "MB", protocol="exact-1"))
    assert not limit.surely_broken(Measurement("m", 2.0, "ms", protocol="trace-1"))
    assert not limit.surely_broken(Measurement("m", None, "ms"))


@pytest.mark.parametrize(
    ("text", "baseline", "told"),
    [
        ("exact_match >= baseline * 0.95", 0.0, "is 0, and a factor of 0 is 0"),
        ("ms <= baseline * 2", 0.0, "is 0, and a factor of 0 is 0"),
        ("reward >= baseline * 0.9", -5.0, "is negative (-5)"),
        ("ms <= baseline * 0", 3.0, "a factor of 0 cancels the baseline"),
        ("exact_match >= baseline * 0.95", 0.5, None),
        ("exact_match >= baseline - 0.01", 0.0, None),
        ("exact_match >= 0", 0.0, None),
    ],
)
def test_a_factor_of_nothing_is_remarked(text: str, baseline: float, told: str | None) -> None:
    constraint = parse_constraint(text)
    limit = constraint.resolve({constraint.metric: baseline})
    assert limit is not None
    assert (limit.remark is None) == (told is None)
    assert told is None or told in str(limit.remark)
