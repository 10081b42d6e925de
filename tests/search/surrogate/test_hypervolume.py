"""What points add to the volume that a front dominates."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.search.surrogate.hypervolume import gains, gaps
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
    found = gains(np.array(new), boxes)
    expected = [volume([*front, one]) - volume(front) for one in new]
    assert np.allclose(found, expected)
