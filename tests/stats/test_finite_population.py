"""Bounds of a share on all examples, while only some were looked at."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.stats.finite_population import count_bounds, final_bounds


def _share(rows: list[int], answers: list[float]) -> Measurement:
    return Measurement(
        "accuracy",
        sum(answers) / len(rows),
        "fraction",
        n=len(rows),
        samples=tuple(answers),
        details={"rows": rows},
    )


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.data())
def test_laws(answers: list[bool], data: st.DataObject) -> None:
    total = len(answers)
    seen = data.draw(st.integers(0, total))
    right = sum(answers[:seen])
    low, high = count_bounds(total, seen, right, 0.05)
    assert right <= low <= high <= total - (seen - right)  # never beyond what is possible
    assert count_bounds(total, total, sum(answers), 0.05) == (sum(answers), sum(answers))
    mirrored = count_bounds(total, seen, seen - right, 0.05)
    assert mirrored == (total - high, total - low)
    wider = count_bounds(total, seen, right, 0.001)
    assert wider[0] <= low
    assert wider[1] >= high


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="5 right of 3 of 10"):
        count_bounds(10, 3, 5, 0.05)


def test_it_misses_no_more_often_than_it_says_though_it_is_looked_at_after_each() -> None:
    draw, missed, runs = random.Random(4), 0, 400
    for _ in range(runs):
        answers = [draw.random() < 0.8 for _ in range(120)]
        right, wrong = 0, False
        for seen, answer in enumerate(answers, start=1):
            right += answer
            low, high = count_bounds(120, seen, right, 0.1)
            wrong = wrong or not low <= sum(answers) <= high
        missed += wrong
    assert missed / runs <= 0.1 + 3 * (0.1 * 0.9 / runs) ** 0.5


def test_hard_examples_at_the_beginning_deceive_nobody() -> None:
    """Both models get the first 40 half right, and all others; after 40 it is known already."""
    rows = list(range(400))
    answers = [float(row % 2) for row in range(40)] + [1.0] * 360
    reference = _share(rows, answers)
    bounds = final_bounds(_share(rows[:40], answers[:40]), reference)
    assert bounds is not None
    assert bounds[0] <= 0.95 <= bounds[1]
    assert bounds[1] > 0.94
    alone = count_bounds(400, 40, 20, 0.01)
    assert alone[1] / 400 < 0.8  # without the reference one would be sure of a wrong thing


def test_all_examples_leave_no_doubt() -> None:
    draw = random.Random(1)
    rows = list(range(90))
    mine = [float(draw.random() < 0.7) for _ in rows]
    reference = _share(rows, [float(draw.random() < 0.8) for _ in rows])
    assert final_bounds(_share(rows, mine), reference) == (sum(mine) / 90, sum(mine) / 90)


def test_what_cannot_be_paired_has_no_bounds() -> None:
    reference = _share([0, 1], [1.0, 0.0])
    assert final_bounds(_share([0, 7], [1.0, 1.0]), reference) is None
    assert final_bounds(Measurement("accuracy", 0.5, "fraction"), reference) is None
    assert final_bounds(reference, Measurement("accuracy", 0.5, "fraction")) is None


def test_what_is_no_share_of_rows_has_no_bounds() -> None:
    reference = _share([0, 1], [1.0, 0.0])
    apart = replace(reference, metric="max_abs_difference", value=3.0, unit="", samples=(3.0, 0.0))
    largest = replace(reference, value=1.0)  # samples of 0 and 1, of which it is not the mean
    similar = replace(reference, value=0.5, samples=(0.75, 0.25))
    for other in (apart, largest, similar):
        assert final_bounds(other, other) is None
        assert final_bounds(reference, other) is None
        assert final_bounds(other, reference) is None
