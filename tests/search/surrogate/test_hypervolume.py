"""What points add to the volume that a front dominates."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.search.surrogate.hypervolume import expected_gains, gaps
from paretune.stats.hypervolume import hypervolume

COORDINATE = st.integers(0, 6).map(lambda n: n / 5)


def volume(points: list[tuple[float, ...]]) -> float:
    return hypervolume([tuple(1 - c for c in p) for p in points if all(c < 1 for c in p)])


@given(st.data(), st.integers(1, 4))
@settings(max_examples=60)
def test_a_gain_is_the_difference_of_two_volumes(data: st.DataObject, width: int) -> None:
    point = st.tuples(*[COORDINATE] * width)
    front = data.draw(st.lists(point, max_size=7))
    new = data.draw(st.lists(point, min_size=1, max_size=4))
    boxes = gaps(front, (1.0,) * width)
    each = [
        (np.array(column)[:, None], np.ones((len(new), 1))) for column in zip(*new, strict=True)
    ]
    found = expected_gains(each, boxes)
    expected = [volume([*front, one]) - volume(front) for one in new]
    assert np.allclose(found, expected)


@given(st.data(), st.integers(1, 3))
@settings(max_examples=60)
def test_an_expected_gain_is_the_mean_over_all_combinations_of_values(
    data: st.DataObject, width: int
) -> None:
    """A combination with a value of weight 0 adds nothing."""
    front = data.draw(st.lists(st.tuples(*[COORDINATE] * width), max_size=5))
    weighted = st.lists(st.tuples(COORDINATE, st.sampled_from((0.0, 1.0))), min_size=3, max_size=3)
    objectives = [data.draw(weighted) for _ in range(width)]
    boxes = gaps(front, (1.0,) * width)
    each = [(np.array([[v for v, _ in o]]), np.array([[w for _, w in o]])) for o in objectives]
    added = [
        math.prod(w for _, w in one) * (volume([*front, tuple(v for v, _ in one)]) - volume(front))
        for one in itertools.product(*objectives)
    ]
    assert np.allclose(expected_gains(each, boxes)[0], np.mean(added))
