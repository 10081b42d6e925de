"""What a candidate can be expected to add."""

import numpy as np

from paretune.search.constraints import Limit, Objective
from paretune.search.surrogate.acquisition import Acquisition
from paretune.search.surrogate.layout import Matrix

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("ms", "minimize"))


def sure(accuracies: list[float], times: list[float]) -> dict[str, tuple[Matrix, Matrix]]:
    """Return forecasts without doubt; the time is forecast by its logarithm."""
    return {
        "accuracy": (np.array(accuracies), np.zeros(len(accuracies))),
        "ms": (np.log(times), np.zeros(len(times))),
    }


def acquisition(limits: tuple[Limit, ...] = ()) -> Acquisition:
    tried = sure([0.7, 0.8, 0.9], [1.0, 2.0, 4.0])
    return Acquisition(OBJECTIVES, limits, {"ms": True}, tried, [True] * 3, (0, 1))


def test_what_is_surely_dominated_adds_nothing_and_the_better_adds_more() -> None:
    found = acquisition().gains(sure([0.75, 0.85, 0.89], [2.5, 2.5, 2.5]))
    assert found[0] == 0
    assert 0 < found[1] < found[2]


def test_doubt_is_worth_something_where_the_mean_adds_nothing() -> None:
    known = sure([0.79], [2.5])
    unsure = {**known, "accuracy": (np.array([0.79]), np.array([0.05]))}
    assert acquisition().gains(known)[0] == 0
    assert acquisition().gains(unsure)[0] > 0


def test_what_breaks_a_limit_adds_nothing_and_what_may_break_it_adds_less() -> None:
    limited = acquisition((Limit("ms", "<=", 3.0, "ms <= 3"),))
    mean = sure([0.95, 0.95], [3.5, 2.9])
    assert limited.gains(mean)[0] == 0
    unsure = {**mean, "ms": (mean["ms"][0], np.array([0.2, 0.2]))}
    assert 0 < limited.gains(unsure)[1] < acquisition().gains(unsure)[1]


def test_without_a_feasible_candidate_what_meets_the_limits_is_worth_most() -> None:
    tried = sure([0.7, 0.8, 0.9], [5.0, 6.0, 7.0])
    limits = (Limit("ms", "<=", 4.0, "ms <= 4"),)
    found = Acquisition(OBJECTIVES, limits, {"ms": True}, tried, [False] * 3, (0, 1)).gains(
        sure([0.6, 0.95], [3.9, 4.1])
    )
    assert found[0] >= 0 == found[1]
