"""The bound that a stop by the parent rests on: its error, and what pairs say."""

from __future__ import annotations

import math
import random

import pytest

from paretune.core.measurement import Measurement
from paretune.stats.finite_population import ALPHA
from paretune.stats.intervals import student_t_above
from paretune.stats.parent_gain import (
    DEFAULT_GAIN,
    GAIN_ALPHA,
    build_cost,
    largest_gain,
    parent_bounds,
    with_gain,
)


def share(right: dict[int, float], *, early: bool = False) -> Measurement:
    rows = tuple(sorted(right))
    samples = tuple(right[row] for row in rows)
    value = sum(samples) / len(samples)
    details = {"rows": list(rows), "early": early}
    return Measurement(
        "accuracy", value, "fraction", 0.0, 1.0, len(rows), "wilson-1", samples, None, details
    )


@pytest.mark.parametrize(
    ("freedom", "alpha", "quantile"),
    [(1, 0.025, 12.706), (4, 0.005, 4.604), (10, 0.025, 2.228), (30, 0.005, 2.750)],
)
def test_quantiles_are_those_of_the_tables(freedom: int, alpha: float, quantile: float) -> None:
    assert student_t_above(freedom, alpha) == pytest.approx(quantile, rel=2e-4)


def test_before_any_pair_the_default_holds_and_pairs_narrow_it() -> None:
    assert largest_gain([]) == pytest.approx(DEFAULT_GAIN)
    few, many = largest_gain([-0.01, 0.0, -0.02]), largest_gain([-0.01, 0.0, -0.02] * 10)
    assert 0 <= many < few < DEFAULT_GAIN
    assert largest_gain([0.2, -0.1]) > DEFAULT_GAIN
    assert largest_gain([-0.3] * 40) == 0, "a build is never said to lose"


def test_gains_of_perplexities_are_ratios() -> None:
    assert with_gain(20.0, math.log(2), ratio=True, maximize=False) == pytest.approx(10.0)
    assert with_gain(0.5, 0.1, ratio=False, maximize=True) == pytest.approx(0.6)


def test_a_build_is_paired_with_its_parent_on_the_parents_examples() -> None:
    build = share({row: float(row % 3 > 0) for row in range(30)})
    part = share({row: 1.0 for row in (0, 1, 2, 3)}, early=True)
    cost = build_cost(build, part)
    assert cost is not None
    assert (cost.value, cost.n, cost.change) == (-0.5, 4, -0.5)
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low < -0.5 < cost.high
    assert build_cost(build, share({99: 1.0}, early=True)) is None
    assert parent_bounds(share({0: 1.0, 1: 0.0}), None) == (0.5, 0.5)


def test_a_wrong_stop_is_as_rare_as_stated() -> None:
    """Builds that just meet their limit are stopped in at most one of a hundred cases.

    The differences of a study's builds are draws from a normal distribution, whose mean and
    deviation are drawn from the prior for each study: the assumption that is stated. The limit is
    the very value of the build that comes next, so that each stop is wrong. A parent is measured as
    in a search, and tested at every step.
    """
    draw, studies, wrong = random.Random(7), 2500, 0
    scale = DEFAULT_GAIN / (student_t_above(4, GAIN_ALPHA) * math.sqrt(2))
    count, order = 200, list(range(200))
    base = share({row: float(draw.random() < 0.7) for row in order})
    for _ in range(studies):
        deviation = scale * math.sqrt(4 / draw.gammavariate(2.0, 2.0))
        mean = draw.gauss(0.0, deviation)
        seen = [draw.gauss(mean, deviation) for _ in range(draw.choice((0, 1, 4, 12)))]
        quality = draw.uniform(0.2, 0.9)
        answers = [float(draw.random() < quality) for _ in order]
        limit = sum(answers) / count + draw.gauss(mean, deviation)  # what the build comes to
        gain = largest_gain(seen)
        draw.shuffle(order)
        for n in (24, 48, 96, 200):
            part = share({row: answers[row] for row in order[:n]}, early=n < count)
            bounds = parent_bounds(part, base)
            assert bounds is not None
            if bounds[1] + gain < limit:
                wrong += 1
                break
    assert wrong / studies <= ALPHA
    assert largest_gain([]) == DEFAULT_GAIN
