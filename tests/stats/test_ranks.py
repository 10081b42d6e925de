"""Spearman's rank correlation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.stats.ranks import rank_correlation, ranks

PAIRS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=30)


def test_equal_values_share_a_rank() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def test_a_known_example() -> None:
    # Intelligence quotient and hours of television: -29/165 (Wikipedia's example).
    a = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    b = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert rank_correlation(a, b) == pytest.approx(-29 / 165)


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])])
def test_too_little_says_nothing(a: list[float], b: list[float]) -> None:
    assert rank_correlation(a, b) is None


@given(PAIRS)
def test_only_the_order_counts(pairs: list[tuple[int, int]]) -> None:
    a, b = ([float(v) for v in row] for row in zip(*pairs, strict=True))
    found = rank_correlation(a, b)
    assert found == rank_correlation(b, a)
    if found is None:
        assert len(set(a)) == 1 or len(set(b)) == 1
        return
    assert -1 <= found <= 1
    assert rank_correlation([v**3 + 2 * v for v in a], b) == pytest.approx(found)
    assert rank_correlation([-v for v in a], b) == pytest.approx(-found)
    assert rank_correlation(a, a) == pytest.approx(1.0)
