"""Forecasts from earlier studies, corrected by what is observed here."""

from collections.abc import Callable

import numpy as np
import pytest

from paretune.search.surrogate.forecaster import Forecaster
from paretune.search.surrogate.layout import Layout, Matrix, Subject
from paretune.search.surrogate.observed import Observed
from paretune.search.surrogate.transfer import MOST_OWN, Transferred

LAYOUT = Layout((True, True, False, False), (0, 0, 1, 1))
COLUMNS = range(4)


def rows(count: int, seed: int) -> Matrix:
    draw = np.random.default_rng(seed)
    numbers = draw.integers(0, 5, (count, 2)) / 4
    return np.hstack([numbers, draw.integers(0, 3, (count, 2)).astype(float)])


def there(codes: Matrix) -> Matrix:
    found: Matrix = codes[:, 0] + np.sin(3 * codes[:, 1]) + 0.4 * codes[:, 2]
    return found + 0.3 * codes[:, 0] * codes[:, 2]


def observed(values: Callable[[Matrix], Matrix], seed: int = 0, *, alike: bool = False) -> Observed:
    codes = rows(60, seed)
    found = values(codes)
    return Observed(alike, codes.tolist(), found.tolist(), [1e-4] * len(codes))


def fitted(
    here: Callable[[Matrix], Matrix], count: int, earlier: dict[str, Observed]
) -> Transferred:
    made = Transferred(LAYOUT, COLUMNS, Subject(), earlier)
    if count:
        codes = rows(count, 7)
        made.fit(codes, here(codes), np.full(count, 1e-4))
    return made


def error(made: Transferred, here: Callable[[Matrix], Matrix]) -> float:
    codes = rows(100, 11)
    mean, _ = made.forecast(codes, None)
    return float(np.sqrt(np.mean((mean - here(codes)) ** 2)))


def test_without_observations_it_forecasts_what_the_earlier_study_saw() -> None:
    made = fitted(there, 0, {"a": observed(there, alike=True)})
    assert error(made, there) < 0.15


def test_a_shift_and_a_scale_are_learned_from_three_observations() -> None:
    def here(codes: Matrix) -> Matrix:
        found: Matrix = 2.0 + 0.8 * there(codes)
        return found

    before = error(fitted(here, 0, {"a": observed(there)}), here)
    after = error(fitted(here, 3, {"a": observed(there)}), here)
    assert before > 1.5
    assert after < 0.25


def test_a_study_that_the_observations_contradict_loses_its_weight() -> None:
    def here(codes: Matrix) -> Matrix:
        found: Matrix = np.cos(5 * codes[:, 0]) - 0.7 * (codes[:, 3] == 1)
        return found

    for alike in (True, False):
        few = fitted(there, 12, {"a": observed(there, alike=alike)}).weights
        many = fitted(here, 12, {"a": observed(there, alike=alike)}).weights
        assert few[0] > 0.9
        assert many[0] < few[0]
    lost = fitted(here, 30, {"a": observed(there, alike=True)})
    assert lost.weights[0] < 0.05
    both = fitted(here, 30, {"a": observed(there), "b": observed(here, 3)})
    assert both.weights[1] > 0.9


def test_a_forecast_lies_at_an_observation_and_is_surer_there() -> None:
    codes = rows(8, 7)
    made = fitted(shifted, 8, {"a": observed(there)})
    mean, deviation = made.forecast(codes, None)
    assert mean == pytest.approx(there(codes) + 1.0, abs=0.05)
    _, elsewhere = made.forecast(rows(40, 13), None)
    assert np.median(deviation) < np.median(elsewhere)


def test_the_order_of_studies_and_observations_changes_nothing() -> None:
    def tell(order: list[str]) -> Forecaster:
        forecaster = Forecaster(LAYOUT, {"y": Subject()})
        for study in order:
            codes, values = _of(study)
            forecaster.observe_earlier("y", study, Observed(False, codes, values, [1e-4] * 30))
        for row in rows(5, 7):
            forecaster.observe("y", row.tolist(), float(there(row[None, :])[0]) + 1, 1e-4)
        return forecaster

    codes = rows(20, 3)
    one, other = (tell(order).forecast(codes)["y"] for order in (["a", "b"], ["b", "a"]))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def shifted(codes: Matrix) -> Matrix:
    found: Matrix = there(codes) + 1.0
    return found


def _of(study: str) -> tuple[list[list[float]], list[float]]:
    codes = rows(30, ord(study))
    found = there(codes) if study == "a" else 3 * there(codes)
    return codes.tolist(), found.tolist()


def test_a_quantity_that_depends_on_no_choice_is_transferred_too() -> None:
    made = Transferred(
        LAYOUT, (), Subject(), {"a": observed(lambda codes: np.full(len(codes), 4.0))}
    )
    made.fit(rows(2, 1), np.array([5.0, 5.0]), np.array([1e-4, 1e-4]))
    mean, deviation = made.forecast(rows(3, 2), None)
    assert mean == pytest.approx(5.0, abs=0.1)
    assert (deviation > 0).all()


def test_many_observations_here_speak_for_themselves() -> None:
    plain, warm = Forecaster(LAYOUT, {}), Forecaster(LAYOUT, {})
    nine = Observed(True, rows(30, 5).tolist(), [9.0] * 30, [1e-4] * 30)
    warm.observe_earlier("y", "a", nine)
    for row in rows(MOST_OWN, 7):
        for each in (plain, warm):
            each.observe("y", row.tolist(), float(there(row[None, :])[0]), 1e-4)
    codes = rows(10, 3)
    assert np.array_equal(plain.forecast(codes)["y"][0], warm.forecast(codes)["y"][0])


@pytest.mark.parametrize("same", [0.9, 0.1, 1.0, 0.1 + 1e-12])
def test_an_earlier_study_without_differences_does_not_outweigh_what_is_seen_here(
    same: float,
) -> None:
    """The mean of equal numbers is another number by rounding; a spread of 1e-17 is none."""
    codes = rows(15, 0)
    earlier = Observed(True, codes.tolist(), [same] * 15, [0.0] * 15)

    def here(codes: Matrix) -> Matrix:
        found: Matrix = 0.5 + 0.1 * codes[:, 0]
        return found

    assert error(fitted(here, 3, {"a": earlier}), here) < 0.1


def test_what_is_forgotten_is_forecast_from_what_is_seen_afterwards_alone() -> None:
    with_earlier, without = Forecaster(LAYOUT, {}), Forecaster(LAYOUT, {})
    with_earlier.observe_earlier("ms", "a", observed(there))
    with_earlier.observe("ms", [0.0, 0.0, 0.0, 0.0], 4.0, 0.1)
    codes = rows(6, 7)
    with_earlier.forecast(codes)
    with_earlier.forget("ms")
    for each in (with_earlier, without):
        for row, value in zip(codes, there(codes), strict=True):
            each.observe("ms", row.tolist(), float(value), 0.01)
    found, expected = (each.forecast(rows(20, 8))["ms"] for each in (with_earlier, without))
    assert np.allclose(found, expected)
