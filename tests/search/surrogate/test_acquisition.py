"""What a candidate can be expected to add."""

import numpy as np
import pytest
from scipy.stats import norm

from paretune.search.constraints import Limit, Objective
from paretune.search.surrogate.acquisition import Acquisition
from paretune.search.surrogate.layout import Matrix
from paretune.search.surrogate.scale import Scale

SCALES = {"accuracy": Scale(), "ms": Scale(0.0), "mb": Scale(0.0)}
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("ms", "minimize"))


def sure(accuracies: list[float], times: list[float]) -> dict[str, tuple[Matrix, Matrix]]:
    """Return forecasts without doubt; the time is forecast by its logarithm."""
    return {
        "accuracy": (np.array(accuracies), np.zeros(len(accuracies))),
        "ms": (np.log(times), np.zeros(len(times))),
    }


def acquisition(limits: tuple[Limit, ...] = ()) -> Acquisition:
    tried = sure([0.7, 0.8, 0.9], [1.0, 2.0, 4.0])
    return Acquisition(OBJECTIVES, limits, SCALES, tried, [True] * 3, tried)


def test_what_is_surely_dominated_adds_nothing_and_the_better_adds_more() -> None:
    found = acquisition().gains(sure([0.75, 0.85, 0.89], [2.5, 2.5, 2.5]))
    assert found[0] == 0
    assert 0 < found[1] < found[2]


def test_doubt_is_worth_something_where_the_mean_adds_nothing() -> None:
    known = sure([0.79], [2.5])
    unsure = {**known, "accuracy": (np.array([0.79]), np.array([0.05]))}
    assert acquisition().gains(known)[0] == 0
    assert acquisition().gains(unsure)[0] > 0


def test_an_expected_gain_is_the_integral() -> None:
    """Of one objective: what is better than the best, times its density."""
    objective, tried = (OBJECTIVES[0],), {"accuracy": sure([0.6, 0.7, 0.8], [1.0] * 3)["accuracy"]}
    far = {"accuracy": (np.array([0.72]), np.array([0.04]))}
    z = (0.72 - 0.8) / 0.04
    expected = 0.04 * (norm.pdf(z) + z * norm.cdf(z))
    found = Acquisition(objective, (), SCALES, tried, [True] * 3, tried)
    unit = found.gains({"accuracy": (np.array([0.81]), np.array([0.0]))})[0] / 0.01
    assert found.gains(far)[0] / unit == pytest.approx(expected, rel=0.1)


def test_what_breaks_a_limit_adds_nothing_and_what_may_break_it_adds_less() -> None:
    limited = acquisition((Limit("ms", "<=", 3.0, "ms <= 3"),))
    mean = sure([0.95, 0.95], [3.5, 2.9])
    assert limited.gains(mean)[0] == 0
    unsure = {**mean, "ms": (mean["ms"][0], np.array([0.2, 0.2]))}
    assert 0 < limited.gains(unsure)[1] < acquisition().gains(unsure)[1]


def test_without_a_feasible_candidate_what_meets_the_limits_is_worth_most() -> None:
    tried = sure([0.7, 0.8, 0.9], [5.0, 6.0, 7.0])
    limits = (Limit("ms", "<=", 4.0, "ms <= 4"),)
    found = Acquisition(OBJECTIVES, limits, SCALES, tried, [False] * 3, tried).gains(
        sure([0.6, 0.95], [3.9, 4.1])
    )
    assert found[0] > 0 == found[1]


def test_before_anything_met_the_limits_the_likelier_one_is_worth_more() -> None:
    """Also where no draw meets them: what remains is their probability."""
    tried = sure([0.7, 0.8, 0.9], [5.0, 6.0, 7.0])
    limits = (Limit("mb", "<=", 4.0, "mb <= 4"),)
    asked = {**sure([0.8, 0.8], [5.0, 5.0]), "mb": (np.array([7.0, 6.0]), np.array([0.3, 0.3]))}
    unlimited = {**tried, "mb": (np.array([9.0, 9.0, 9.0]), np.full(3, 0.3))}
    made = Acquisition(OBJECTIVES, limits, SCALES, unlimited, [False] * 3, unlimited)
    first, second = made.gains(asked)
    assert 0 < first < second


def test_ends_that_are_worse_than_most_of_the_space_count_for_less() -> None:
    """A gain in the middle of the front is worth more than one as large at a useless end."""
    tried = sure([0.0, 0.8, 0.9], [0.01, 2.0, 4.0])
    sample = sure([0.7 + 0.01 * n for n in range(20)], [3.5] * 20)
    both = Acquisition(OBJECTIVES, (), SCALES, tried, [True] * 3, sample)
    ends_only = Acquisition(OBJECTIVES, (), SCALES, tried, [True] * 3, tried)
    asked = sure([0.1, 0.85], [0.02, 2.5])

    def middle_to_end(made: Acquisition) -> float:
        end, middle = made.gains(asked)
        return float(middle / end)

    assert middle_to_end(both) > middle_to_end(ends_only)
