"""A bound of a perplexity from some windows holds as often as it says, for models of any kind."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.stats.window_bounds import (
    least_total,
    perplexity_bounds,
)

NATS = st.floats(0.0, 20.0)


def measured(sums: list[float], tokens: int = 10, seen: list[int] | None = None) -> Measurement:
    order = seen if seen is not None else list(range(len(sums)))
    shown = sorted(order)
    mean = sum(sums[i] for i in shown) / (tokens * len(shown))
    return Measurement(
        "perplexity",
        math.exp(mean),
        "",
        n=tokens * len(shown),
        protocol="windows-1",
        samples=tuple(sums[i] / tokens for i in shown),
        details={
            "windows_seen": shown,
            "tokens_scored": [tokens] * len(shown),
            "order": order,
        },
    )


@given(st.lists(st.tuples(NATS, NATS), min_size=1, max_size=12), st.data())
def test_what_is_not_negative_adds_up_to_no_less_than_was_seen(
    pairs: list[tuple[float, float]], data: st.DataObject
) -> None:
    left = data.draw(st.lists(NATS, min_size=1, max_size=12))
    bound = least_total(pairs, left, 0.01)
    assert bound >= sum(x for x, _ in pairs) * (1 - 1e-9)
    assert math.isfinite(bound)


@pytest.mark.parametrize("kind", ["copy", "noisy", "one bad window", "better", "half broken"])
def test_it_misses_no_more_often_than_it_says(kind: str) -> None:
    """Whatever the model is like; one bad window is what a bound of the mean finds hardest."""
    draw = random.Random(f"windows {kind}")
    missed, tries = 0, 1500
    for _ in range(tries):
        base = [draw.lognormvariate(3.0, 0.5) for _ in range(16)]
        mine = {
            "copy": base,
            "noisy": [x * draw.lognormvariate(0.0, 0.3) for x in base],
            "one bad window": [60 * x if i == 3 else x for i, x in enumerate(base)],
            "better": [x / 2 for x in base],
            "half broken": [x * draw.choice((1.0, 8.0)) for x in base],
        }[kind]
        order = list(range(16))
        draw.shuffle(order)
        found = perplexity_bounds(measured(mine, seen=order[:8]), measured(base))
        assert found is not None
        missed += found[0] > math.exp(sum(mine) / 160) * (1 + 1e-9)
    assert missed <= 0.01 * tries + 3 * math.sqrt(0.01 * 0.99 * tries)


def test_a_broken_model_is_known_from_half_of_the_windows() -> None:
    draw = random.Random(1)
    found = 0
    for _ in range(100):
        base = [23.0 * draw.lognormvariate(0.0, 0.2) for _ in range(16)]  # perplexity 10
        mine = [x + 50.0 for x in base]  # 150 times that
        seen = draw.sample(range(16), 8)
        bounds = perplexity_bounds(measured(mine, seen=seen), measured(base))
        assert bounds is not None
        found += bounds[0] > 12.0
    assert found == 100


def test_on_all_windows_it_is_what_it_is() -> None:
    base, mine = measured([20.0, 30.0, 25.0]), measured([21.0, 33.0, 24.0])
    found = perplexity_bounds(mine, base)
    assert found is not None
    assert found[0] == found[1] == pytest.approx(mine.value)


def test_what_cannot_be_paired_is_not_bounded() -> None:
    base, mine = measured([20.0, 30.0, 25.0]), measured([21.0, 33.0, 24.0, 9.0])
    assert perplexity_bounds(mine, base) is None
    assert perplexity_bounds(replace(base, details={}), base) is None
    assert perplexity_bounds(base, replace(base, samples=())) is None
