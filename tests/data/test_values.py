import datetime
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.data.values import NotTextError, text_of


@given(st.text().filter(lambda t: "\0" not in t))
def test_text_is_used_as_it_is(text: str) -> None:
    assert text_of(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_so_that_it_comes_back(number: float) -> None:
    assert float(text_of(number) or "") == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (True, "True"),
        (False, "False"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (np.int64(3), "3"),
        (np.float64(0.5), "0.5"),
        (np.bool_(True), "True"),
        (Decimal("1.10"), "1.10"),
        (Decimal("1E+3"), "1000"),
        ("", ""),
        ("nan", "nan"),
        ("null", "null"),
    ],
)
def test_the_one_way_in_which_a_value_is_written(value: Any, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("value", [None, math.nan, Decimal("NaN"), np.float32("nan")])
def test_what_is_missing(value: Any) -> None:
    assert text_of(value) is None


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (["a", "b"], "a list of 2 values"),
        ((), "a list of 0 values"),
        ({"a": 1}, "an object with the keys 'a'"),
        (b"ab", "2 bytes"),
        (math.inf, "an infinity"),
        (-math.inf, "an infinity"),
        (Decimal("Infinity"), "an infinity"),
        (datetime.date(2020, 1, 2), r"a date \(2020-01-02\)"),
        (datetime.datetime(2020, 1, 2), "a datetime"),
        (datetime.timedelta(1), "a timedelta"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        ({1}, "a set"),
        (1j, "a complex"),
        ([{"role": "user", "content": "x"}], "a list of 1 turns"),
    ],
)
def test_what_is_no_text_is_named(value: Any, what: str) -> None:
    with pytest.raises(NotTextError, match=what):
        text_of(value)
