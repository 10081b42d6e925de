"""What the report says of several devices."""

from __future__ import annotations

import pytest

from paretune.reporting.devices_section import _cost
from paretune.study.results_across import ReachedValue


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((None, None), " (20.0% worse)"),
        ((0.15, 0.25), " (20.0% worse: 15.0% to 25.0%)"),
        ((-0.05, 0.45), " (20.0% worse, within the noise: 5.0% better to 45.0% worse)"),
    ],
)
def test_a_cost_is_said_with_its_interval(
    ends: tuple[float | None, float | None], said: str
) -> None:
    low, high = ends
    value = ReachedValue(value=12.0, own=10.0, cost=0.2, cost_low=low, cost_high=high)
    assert _cost(value) == said


def test_what_is_better_is_said_from_the_end_that_is_near() -> None:
    value = ReachedValue(value=8.0, own=10.0, cost=-0.2, cost_low=-0.3, cost_high=-0.1)
    assert _cost(value) == " (20.0% better: 10.0% to 30.0%)"
