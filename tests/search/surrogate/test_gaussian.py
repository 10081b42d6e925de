"""What a Gaussian process learns from observations of chains."""

from itertools import pairwise

import numpy as np
import pytest

from paretune.search.surrogate.allowance import MANY
from paretune.search.surrogate.gaussian import KEPT, KEPT_OF_MANY, Gaussian, fitted_at
from paretune.search.surrogate.layout import Layout, Matrix, Subject

LAYOUT = Layout((True, False, False), (0, 1, 2))


def chains(count: int, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Return candidates of a training and a build, and an accuracy that adds up over both."""
    draw = np.random.default_rng(seed)
    codes = np.column_stack(
        [draw.integers(0, 5, count) / 4, draw.integers(0, 3, count), draw.integers(0, 2, count)]
    ).astype(float)
    trained = 0.8 + 0.1 * codes[:, 0] - 0.08 * codes[:, 0] ** 2
    built = np.array([0.0, -0.01, -0.06])[codes[:, 1].astype(int)]
    return codes, trained + built


def test_it_learns_what_a_build_costs_across_parents() -> None:
    codes, values = chains(14)
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, values, np.full(len(values), 1e-8))
    others, expected = chains(60, seed=1)
    mean, deviation = model.forecast(others)
    assert np.abs(mean - expected).max() < 0.01
    assert (deviation > 0).all()


def test_an_exact_observation_is_forecast_and_what_is_far_is_less_sure() -> None:
    codes = np.array([[0.0, 0.0, 0.0], [0.25, 0.0, 0.0], [0.5, 0.0, 0.0], [0.25, 1.0, 0.0]])
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, np.array([0.5, 0.6, 0.7, 0.4]), np.zeros(4))
    mean, deviation = model.forecast(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]]))
    assert mean[0] == pytest.approx(0.5, abs=0.01)
    assert deviation[0] < 0.01 < deviation[1]


def test_a_noisy_observation_counts_for_less() -> None:
    codes = np.array([[0.0, 0.0, 0.0], [0.25, 0.0, 0.0], [0.5, 0.0, 0.0], [0.75, 0.0, 0.0]])
    values = np.array([0.5, 0.5, 0.9, 0.52])
    found = []
    for variance in (1e-8, 1.0):
        model = Gaussian(LAYOUT, (0,), Subject())
        model.fit(codes, values, np.array([1e-8, 1e-8, variance, 1e-8]))
        found.append(float(model.forecast(codes[2:3])[0][0]))
    assert found[0] == pytest.approx(0.9, abs=0.02)
    assert found[1] < 0.6


def test_a_choice_that_it_cannot_depend_on_makes_no_difference() -> None:
    codes, values = chains(12)
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, values, np.zeros(len(values)))
    with_, without = codes.copy(), codes.copy()
    with_[:, 2], without[:, 2] = 1.0, 0.0
    assert np.array_equal(model.forecast(with_)[0], model.forecast(without)[0])


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.8], [0.7] * 9])
def test_few_or_equal_observations_are_forecast_by_their_mean(values: list[float]) -> None:
    codes, _ = chains(len(values))
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, np.array(values), np.zeros(len(values)))
    mean, deviation = model.forecast(codes)
    assert np.allclose(mean, np.mean(values))
    assert (deviation > 0).all()


def test_a_much_worse_value_counts_as_no_worse_than_a_bound() -> None:
    codes, values = chains(15)
    worst = np.array([[1.0, 2.0, 0.0]])
    codes, values = np.vstack([codes, worst]), np.append(values, -5.0)
    model = Gaussian(LAYOUT, (0, 1), Subject(better=1, spread=0.3))
    model.fit(codes, values, np.full(len(values), 1e-8))
    middle, best = float(np.median(values)), float(values.max())
    assert best - middle < 0.1
    assert model.forecast(worst)[0][0] > middle - 3 * 0.1


def test_what_differs_by_half_of_the_expected_spread_is_not_bounded() -> None:
    """Many builds of a good training do not make those of a mediocre one look alike."""
    codes, values = chains(15)
    worse = np.array([[1.0, 9.0, 0.0]])
    codes, values = np.vstack([codes, worse]), np.append(values, values.max() - 0.15)
    model = Gaussian(LAYOUT, (0, 1), Subject(better=1, spread=0.3))
    model.fit(codes, values, np.full(len(values), 1e-8))
    assert abs(model.forecast(worse)[0][0] - values[-1]) < 0.02


def test_a_resumed_search_gets_the_same_forecasts() -> None:
    codes, values = chains(23)
    variances = np.full(len(values), 1e-6)
    whole, resumed = Gaussian(LAYOUT, (0, 1), Subject()), Gaussian(LAYOUT, (0, 1), Subject())
    for count in range(1, 24):
        whole.fit(codes[:count], values[:count], variances[:count])
    resumed.fit(codes, values, variances)
    assert np.array_equal(whole.forecast(codes)[0], resumed.forecast(codes)[0])


def test_hyperparameters_are_fitted_less_and_less_often() -> None:
    points = sorted({fitted_at(count) for count in range(1, 400)})
    assert points[:4] == [1, 2, 3, 4]
    assert all(b >= min(a * 6 // 5, a + 2) for a, b in pairwise(points[3:]))
    assert len(points) < 40


def test_of_very_many_observations_some_are_used() -> None:
    codes, values = chains(KEPT + 50)
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, values, np.full(len(values), 1e-6))
    others, expected = chains(40, seed=2)
    assert np.abs(model.forecast(others)[0] - expected).max() < 0.01


def test_of_more_than_many_fewer_are_used_the_latest_among_them() -> None:
    codes, values = chains(MANY + 1)
    model, noise = Gaussian(LAYOUT, (0, 1), Subject()), np.full(len(values), 1e-6)
    model.fit(codes[:MANY], values[:MANY], noise[:MANY])
    assert model._model is not None
    assert len(model._model.X_train_) == KEPT
    model.fit(codes, values, noise)
    assert len(model._model.X_train_) == KEPT_OF_MANY
    assert np.array_equal(model._model.X_train_[-1], codes[-1][:2])
    others, expected = chains(40, seed=2)
    assert np.abs(model.forecast(others)[0] - expected).max() < 0.02


def test_without_a_fit_the_posterior_has_the_last_hyperparameters() -> None:
    codes, values = chains(16)
    noise = np.full(len(values), 1e-8)
    others, expected = chains(40, seed=1)
    model = Gaussian(LAYOUT, (0, 1), Subject())
    model.fit(codes, values, noise, fits=False)
    unfitted, _ = model.forecast(others)
    assert np.corrcoef(unfitted, expected)[0, 1] > 0.9
    assert model._theta is None
    model.fit(codes[:8], values[:8], noise[:8])
    theta = model._theta
    model.fit(codes, values, noise, fits=False)
    assert model._theta is theta
    mean, _ = model.forecast(codes)
    assert np.abs(mean - values).max() < 0.01, "the new observations are not in the posterior"
    whole = Gaussian(LAYOUT, (0, 1), Subject())
    whole.fit(codes, values, noise)
    model.fit(codes, values, noise)
    assert np.allclose(model.forecast(others)[0], whole.forecast(others)[0])


def test_a_few_worse_values_beside_many_equal_ones_stay_worse() -> None:
    """Most builds have the same size; that a few are twice as large must not get lost."""
    model = Gaussian(LAYOUT, (0, 1), Subject(better=-1, spread=0.5))
    codes = np.array([[n / 10, 0.0] for n in range(10)] + [[n / 2, 1.0] for n in range(3)])
    values = np.array([1.0] * 10 + [1.7] * 3)
    model.fit(codes, values, np.zeros(13))
    mean, _ = model.forecast(np.array([[0.3, 0.0], [0.3, 1.0]]))
    assert mean[1] - mean[0] > 0.15
