"""The hypervolume is the volume of a union of boxes, however many dimensions there are."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.stats.hypervolume import Point, added, hypervolume


def points(size: int) -> st.SearchStrategy[list[Point]]:
    return st.lists(st.tuples(*[st.integers(1, 4)] * size), max_size=6)


def counted(some: list[Point], size: int) -> int:
    """Count the unit cells that a point covers."""
    cells = product(range(4), repeat=size)
    return sum(
        any(all(c < p for c, p in zip(cell, q, strict=True)) for q in some) for cell in cells
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_it_is_the_number_of_cells_that_a_point_covers(size: int) -> None:
    @given(points(size))
    def check(some: list[Point]) -> None:
        assert hypervolume(some) == counted(some, size)

    check()


@given(points(3), st.tuples(*[st.integers(1, 4)] * 3))
def test_what_a_point_adds_is_the_difference(some: list[Point], one: Point) -> None:
    assert added(one, some) == hypervolume([*some, one]) - hypervolume(some)
