import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.evaluators.statistics import (
    bootstrap_median,
    paired_bootstrap_difference,
    percentile,
    wilson,
)

samples = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
    ],
)  # fmt: skip
def test_wilson_gives_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0.5, 0.99))
def test_wilson_holds_the_proportion_and_widens_with_confidence(
    k: int, n: int, confidence: float
) -> None:
    k = min(k, n)
    low, high = wilson(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1
    wider = wilson(k, n, 0.995)
    assert wider[0] <= low
    assert wider[1] >= high


@pytest.mark.parametrize(("k", "n"), [(2, 1), (-1, 3), (0, 0)])
def test_wilson_of_nothing(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes of"):
        wilson(k, n)


@given(samples)
def test_a_bootstrap_stays_within_the_samples_and_repeats(values: list[float]) -> None:
    low, high = bootstrap_median(values)
    assert min(values) <= low <= high <= max(values)
    assert bootstrap_median(values) == (low, high)


def test_a_bootstrap_narrows_with_more_samples() -> None:
    few, many = bootstrap_median([1.0, 2.0, 3.0, 4.0]), bootstrap_median([1.0, 2.0, 3.0, 4.0] * 50)
    assert many[1] - many[0] < few[1] - few[0]


@given(samples, st.floats(-10, 10))
def test_a_constant_difference_is_found_exactly(values: list[float], shift: float) -> None:
    difference, low, high = paired_bootstrap_difference([v + shift for v in values], values)
    assert difference == pytest.approx(shift, abs=1e-9)
    assert low == pytest.approx(shift, abs=1e-9)
    assert high == pytest.approx(shift, abs=1e-9)


def test_what_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("n", "there"), [(58, False), (59, True), (500, True)])
def test_p95_needs_59_samples(n: int, there: bool) -> None:
    found = percentile(list(range(n)), 0.95)
    assert (found is not None) is there


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=150, unique=True))
def test_a_percentile_lies_in_its_interval(values: list[float]) -> None:
    middle = percentile(values, 0.5)
    assert middle is not None
    value, low, high = middle
    assert low <= value <= high
    assert abs(sorted(values).index(value) - (len(values) - 1) / 2) <= 0.5
    tail = percentile(values, 0.95)
    assert tail is None or tail[1] <= tail[0] <= tail[2] <= max(values)


def test_the_median_of_a_large_sample_is_narrow() -> None:
    values = [float(i) for i in range(1001)]
    found = percentile(values, 0.5)
    assert found is not None
    assert found[0] == statistics.median(values)
    # Order statistics of a binomial with p = 1/2: 500 +- 1.96 * sqrt(1001) / 2.
    assert (found[1], found[2]) == pytest.approx((469, 531), abs=2)
