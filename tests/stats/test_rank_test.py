"""Mann and Whitney's test is exact where it can be, and its limit agrees with that."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.stats.rank_test import mann_whitney

VALUES = st.lists(st.floats(0.01, 1e3), min_size=2, max_size=60)


def by_all_orders(a: list[float], b: list[float]) -> float:
    """Return the exact two-sided p-value by trying every split."""
    everything = [*a, *b]

    def u(first: tuple[int, ...]) -> int:
        rest = [i for i in range(len(everything)) if i not in first]
        return sum(everything[i] > everything[j] for i in first for j in rest)

    most = len(a) * len(b)
    seen = u(tuple(range(len(a))))
    splits = [u(s) for s in itertools.combinations(range(len(everything)), len(a))]
    return min(1.0, 2 * sum(v <= min(seen, most - seen) for v in splits) / len(splits))


@given(st.integers(1, 5), st.integers(1, 5), st.randoms())
def test_small_samples_are_tested_exactly(m: int, n: int, draw: random.Random) -> None:
    values = [float(v) for v in draw.sample(range(100), m + n)]
    assert mann_whitney(values[:m], values[m:]) == pytest.approx(
        by_all_orders(values[:m], values[m:])
    )


@given(VALUES, VALUES)
def test_the_test_is_symmetric_and_a_probability(a: list[float], b: list[float]) -> None:
    p = mann_whitney(a, b)
    assert 0 <= p <= 1
    assert mann_whitney(b, a) == pytest.approx(p)
    assert mann_whitney([-v for v in a], [-v for v in b]) == pytest.approx(p)
    assert mann_whitney([1.0] * len(a), [1.0] * len(b)) == 1.0


def test_the_limit_agrees_with_the_exact_distribution() -> None:
    draw = random.Random(1)
    for shift in (0.0, 0.5, 1.0):
        a = [draw.gauss(0, 1) for _ in range(20)]
        b = [draw.gauss(shift, 1) for _ in range(20)]
        a.sort()
        exact = mann_whitney(a, b)
        # The least two made one: a tie, which makes it take the limit, and hardly changes U.
        assert mann_whitney([a[0], a[0], *a[2:]], b) == pytest.approx(exact, abs=0.06)
