import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.stats.intervals import (
    bootstrap_mean,
    difference_interval,
    mcnemar,
    paired_bootstrap_difference,
    paired_p,
    percentile,
    samples_needed,
    wilson,
)

samples = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
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
    low, high = bootstrap_mean(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap_mean(values) == (low, high)


def test_a_bootstrap_narrows_with_more_samples() -> None:
    few, many = bootstrap_mean([1.0, 2.0, 3.0, 4.0]), bootstrap_mean([1.0, 2.0, 3.0, 4.0] * 50)
    assert many[1] - many[0] < few[1] - few[0]


@pytest.mark.parametrize(
    ("first", "other", "p"),
    [(4, 0, 0.125), (7, 1, 0.0703125), (0, 0, 1.0), (5, 5, 1.0), (8, 0, 2 / 256)],
)
def test_mcnemar_counts_what_only_one_of_two_gets_right(first: int, other: int, p: float) -> None:
    a = [1.0] * first + [0.0] * other + [1.0] * 50 + [0.0] * 7
    b = [0.0] * first + [1.0] * other + [1.0] * 50 + [0.0] * 7
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(p)


def test_mcnemar_errs_no_more_often_than_it_says() -> None:
    draw, wrong = random.Random(4), 0
    for _ in range(2000):
        pairs = [draw.choice([(1.0, 0.0), (0.0, 1.0)]) for _ in range(draw.randrange(1, 20))]
        wrong += mcnemar([a for a, _ in pairs], [b for _, b in pairs]) <= 0.05
    assert wrong <= 0.05 * 2000


@given(samples, st.floats(-10, 10))
def test_a_constant_difference_is_found_exactly(values: list[float], shift: float) -> None:
    difference, low, high = paired_bootstrap_difference([v + shift for v in values], values)
    assert difference == pytest.approx(shift, abs=1e-9)
    assert low == pytest.approx(shift, abs=1e-9)
    assert high == pytest.approx(shift, abs=1e-9)


def test_what_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap_difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("share", "n"),
    # 64 and 662 are LoadGen's fewest queries of a single and a multiple stream (p90, p99).
    [(0.5, 1), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)],
)
def test_a_percentile_needs_as_many_samples_as_loadgen_asks_for(share: float, n: int) -> None:
    assert samples_needed(share) == n
    assert percentile(list(range(n)), share) is not None
    assert percentile(list(range(n - 1)), share) is None


@given(st.floats(0.51, 0.9999), st.floats(0.6, 0.999))
def test_needed_samples_are_the_fewest_by_the_binomial(share: float, confidence: float) -> None:
    def chance(n: int) -> float:  # that at most one of n samples lies beyond
        return share**n + n * (1 - share) * share ** (n - 1)

    n = samples_needed(share, confidence)
    assert chance(n) <= 1 - confidence
    assert n == 1 or chance(n - 1) > 1 - confidence


def test_both_tails_need_the_same() -> None:
    assert samples_needed(0.25) == samples_needed(0.75)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            samples_needed(share)


def test_a_tail_that_one_stray_sample_made_is_no_bound() -> None:
    """The second largest of 64 draws lies above the true p90 in all but 1 % of cases."""
    draw = random.Random(7)
    missed = sum(sorted(draw.random() for _ in range(64))[-2] < 0.9 for _ in range(4000))
    assert missed <= 4000 * 0.01 + 3 * math.sqrt(4000 * 0.01)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_interval_holds_the_percentile_as_often_as_it_says(share: float) -> None:
    draw, runs, missed = random.Random(3), 1000, 0
    for _ in range(runs):
        found = percentile([draw.random() for _ in range(80)], share)
        assert found is not None
        missed += not found[1] <= share <= found[2]
    assert missed <= runs * 0.05 + 3 * math.sqrt(runs * 0.05 * 0.95)


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


def test_scores_with_sizes_are_not_compared_by_their_signs() -> None:
    a = [1.0] * 30 + [0.0, 1.0]
    b = [0.0] * 20 + [1.0] * 12
    assert paired_p(a, b) == (mcnemar(a, b), "mcnemar")
    # Better by a hair in most, much worse in the rest: a sign test calls it surely better.
    better, worse = [0.51] * 40 + [0.0] * 10, [0.50] * 40 + [0.9] * 10
    assert mcnemar(better, worse) < 0.001
    p, test = paired_p(better, worse)
    assert test == "permutation"
    assert p < 0.05  # and it is the other way: it is surely worse
    assert sum(better) < sum(worse)
    assert paired_p([0.5] * 9, [0.5] * 9) == (1.0, "permutation")
    few = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert paired_p(few, [0.0] * 6)[0] == pytest.approx(2 / 2**6)


def test_the_permutation_test_errs_no_more_often_than_it_says() -> None:
    rng = random.Random(3)
    wrong = 0
    for _ in range(400):
        n = rng.choice([8, 12, 30])
        a = [rng.gauss(0, 1) for _ in range(n)]
        b = [rng.gauss(0, 1) for _ in range(n)]
        wrong += paired_p(a, b)[0] <= 0.05
    assert wrong <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_the_interval_of_a_difference_covers_the_true_one() -> None:
    draw, covered = random.Random(1), 0
    for _ in range(2000):
        a, b = draw.gauss(5.0, 0.3), draw.gauss(3.0, 1.0)
        low, high = difference_interval(
            (a, a - 1.96 * 0.3, a + 1.96 * 0.3), (b, b - 1.96, b + 1.96)
        )
        covered += low <= 2.0 <= high
    assert 0.935 <= covered / 2000 <= 0.965


def test_each_end_of_a_difference_takes_the_ends_that_pull_it_there() -> None:
    low, high = difference_interval((5.0, 4.0, 5.0), (3.0, 3.0, 7.0))
    assert (low, high) == pytest.approx((2.0 - math.hypot(1.0, 4.0), 2.0))
