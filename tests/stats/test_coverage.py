"""How probable it is that so few values lie inside of right intervals."""

from __future__ import annotations

import math

import pytest

from paretune.stats.coverage import chance_of_so_few


@pytest.mark.parametrize("n", [1, 5, 20, 60])
def test_it_is_the_binomial_distribution(n: int) -> None:
    exact = 0.0
    for k in range(n + 1):
        exact += math.comb(n, k) * 0.95**k * 0.05 ** (n - k)
        assert chance_of_so_few(k, n) == pytest.approx(exact)
    assert chance_of_so_few(n, n) == pytest.approx(1.0)


def test_of_many_values_it_is_still_a_number() -> None:
    assert 0.4 < chance_of_so_few(9500, 10_000) < 0.6
    assert chance_of_so_few(9000, 10_000) < 1e-12
