import math

from hypothesis import given
from hypothesis import strategies as st

from paretune.measurement import Measurement
from paretune.search.constraints import Limit, Objective
from paretune.search.pareto import best_of, nearest_miss, pareto_front, surely_dominated

BOTH = (Objective("acc", "maximize"), Objective("ms", "minimize"))

# acc
#  .9 |        2     4         front: 1, 2 (more accurate needs more ms)
#  .8 |  1     3  6            3, 6: as slow as 2 or slower, less accurate
#  .7 |     5                  5: slower than 1, less accurate; 4: slower than 2
#     +------------------ ms
#        1  2  3  4  5
DRAWN = {
    1: {"acc": 0.8, "ms": 1.0}, 2: {"acc": 0.9, "ms": 3.0}, 3: {"acc": 0.8, "ms": 3.0},
    4: {"acc": 0.9, "ms": 5.0}, 5: {"acc": 0.7, "ms": 2.0}, 6: {"acc": 0.8, "ms": 4.0},
}  # fmt: skip


def test_the_drawn_front() -> None:
    assert pareto_front(DRAWN, BOTH) == [1, 2]


def test_equals_are_all_kept_and_what_lacks_a_value_is_not() -> None:
    rows = {1: {"acc": 0.9, "ms": 1.0}, 2: {"acc": 0.9, "ms": 1.0}, 3: {"acc": 1.0},
            4: {"acc": math.nan, "ms": 0.1}}  # fmt: skip
    assert pareto_front(rows, BOTH) == [1, 2]


values = st.one_of(st.integers(0, 4).map(float), st.just(math.nan))
rows = st.dictionaries(
    st.integers(1, 12),
    st.fixed_dictionaries({}, optional={"acc": values, "ms": values, "mb": values}),
)
objectives = st.lists(
    st.sampled_from([*BOTH, Objective("mb", "minimize")]), min_size=1, max_size=3, unique=True
).map(tuple)


@given(rows, objectives)
def test_the_front_is_what_nobody_beats(
    rows: dict[int, dict[str, float]], objectives: tuple[Objective, ...]
) -> None:
    def point(row: dict[str, float]) -> list[float] | None:
        found = [row.get(o.metric, math.nan) for o in objectives]
        if any(math.isnan(v) for v in found):
            return None
        return [v if o.direction == "minimize" else -v
                for v, o in zip(found, objectives, strict=True)]  # fmt: skip

    points = {id: p for id, row in rows.items() if (p := point(row)) is not None}
    expected = [
        id
        for id, p in sorted(points.items())
        if not any(
            q != p and all(x <= y for x, y in zip(q, p, strict=True)) for q in points.values()
        )
    ]
    assert pareto_front(rows, objectives) == expected


def m(value: float, wide: float = 0.0) -> Measurement:
    return Measurement("x", value, "", value - wide, value + wide)


def test_surely_beaten_means_by_intervals_in_everything() -> None:
    other = {"acc": m(0.9, 0.02), "ms": m(1.0, 0.1)}
    assert surely_dominated({"acc": m(0.8, 0.02), "ms": m(2.0, 0.1)}, {7: other}, BOTH) == 7
    assert surely_dominated({"acc": m(0.87, 0.02), "ms": m(2.0, 0.1)}, {7: other}, BOTH) is None
    assert surely_dominated({"acc": m(0.8, 0.02), "ms": m(1.15, 0.1)}, {7: other}, BOTH) is None
    assert surely_dominated({"acc": m(0.8, 0.02)}, {7: other}, BOTH) is None
    assert surely_dominated(other, {7: other}, BOTH) is None


def test_the_pick_is_the_fastest_of_those_not_surely_less_accurate() -> None:
    measured = {
        1: {"acc": m(0.92, 0.03), "ms": m(9.0)},
        2: {"acc": m(0.90, 0.03), "ms": m(5.0)},  # not surely worse than 1, and faster
        3: {"acc": m(0.70, 0.03), "ms": m(1.0)},  # surely worse
    }
    assert best_of([1, 2, 3], measured, BOTH) == 2
    assert best_of([1, 2, 3], measured, BOTH, prefer="ms") == 3
    assert best_of([], measured, BOTH) is None


def test_without_intervals_any_difference_counts() -> None:
    bare = {i: {"acc": Measurement("acc", a, ""), "ms": m(s)} for i, a, s in
            ((1, 0.92, 9.0), (2, 0.90, 5.0))}  # fmt: skip
    assert best_of([1, 2], bare, BOTH) == 1


def test_the_nearest_miss_has_the_smallest_largest_violation() -> None:
    limits = (Limit("acc", ">=", 0.8, "acc >= 0.8"), Limit("ms", "<=", 2.0, "ms <= 2"))
    rows = {1: {"acc": 0.4, "ms": 1.0}, 2: {"acc": 0.8, "ms": 2.2}, 3: {"acc": 0.9}}
    assert nearest_miss(rows, limits) == {
        "id": 2, "constraint": "ms <= 2", "value": 2.2, "limit": 2.0,
    }  # fmt: skip
    assert nearest_miss({}, limits) is None
    assert nearest_miss({3: {"acc": 0.9}}, limits) is None
