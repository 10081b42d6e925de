"""The best items for a room, against trying all of them."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.passes.quantization.knapsack import best_items

ITEMS = st.lists(
    st.tuples(st.floats(-0.2, 1.0), st.integers(0, 20).map(float)), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60)
@given(ITEMS, st.floats(0, 60))
def test_no_other_choice_is_worth_more(items: list[tuple[float, float]], room: float) -> None:
    values, costs = [item[0] for item in items], [item[1] for item in items]
    taken = best_items(values, costs, room)

    def sums(choice: tuple[bool, ...] | list[bool]) -> tuple[float, float]:
        return (
            sum(value for value, take in zip(values, choice, strict=True) if take),
            sum(cost for cost, take in zip(costs, choice, strict=True) if take),
        )

    fitting = [sums(each) for each in product((False, True), repeat=len(items))]
    best = max(value for value, cost in fitting if cost <= room)
    value, cost = sums(taken)
    assert cost <= room + 1e-6 * sum(costs)
    assert value >= best - 1e-6


def test_an_item_that_is_worth_nothing_is_left_out() -> None:
    assert best_items([0.0, -1.0, 0.5], [0.0, 0.0, 0.0], 0.0) == [False, False, True]


@pytest.mark.parametrize("values", [[], [0.0]])
def test_nothing_to_take(values: list[float]) -> None:
    assert best_items(values, [1.0] * len(values), 5.0) == [False] * len(values)


def test_values_far_below_the_largest_one_fill_the_room() -> None:
    values = [10.0**-power for power in range(16)]
    assert best_items(values, [1.0] * 16, 15.5) == [True] * 15 + [False]
    assert best_items([1.0, 1e-12, 1e-9], [1.0, 1.0, 2.0], 2.5) == [True, True, False]
