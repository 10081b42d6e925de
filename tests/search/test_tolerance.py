import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.jsontools import Json
from paretune.search.tolerance import Tolerance, parse_tolerance


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [
        (0, Tolerance(0.0)),
        (0.01, Tolerance(0.01)),
        ("0.01", Tolerance(0.01)),
        ("1e-2", Tolerance(0.01)),
        ("1%", Tolerance(0.01, True)),
        (" 0.5 % ", Tolerance(0.005, True)),
        ("+2", Tolerance(2.0)),
        (".5%", Tolerance(0.005, True)),
    ],
)
def test_what_is_read(given_as: Json, expected: Tolerance) -> None:
    assert parse_tolerance(given_as) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        -0.1,
        "-1%",
        True,
        None,
        [],
        {},
        "",
        "%",
        "much",
        "1%%",
        "1 ms",
        math.nan,
        math.inf,
        "1e999",
        10**400,
    ],
)
def test_what_is_refused(wrong: Json) -> None:
    with pytest.raises(ValueError, match="expected a number in the metric's unit"):
        parse_tolerance(wrong)


@given(st.floats(0, 1e6), st.booleans())
def test_what_is_written_is_read_back(amount: float, relative: bool) -> None:
    made = Tolerance(amount, relative)
    again = parse_tolerance(made.to_json())
    assert again.relative == relative
    assert again.amount == pytest.approx(amount, rel=1e-9)


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 100))
def test_a_difference_of_just_the_tolerance_is_within(n: int, right: int, off: int) -> None:
    """Shares of n are no exact numbers: what is equal on paper must not fall by rounding."""
    best, mine = (right + off) / n, right / n
    assert Tolerance(off / n).holds(best - mine, best)
    assert Tolerance((best - mine) / best if best else 0.0, True).holds(best - mine, best)
    assert not Tolerance(off / n).holds(best - (right - 1) / n, best)
