import math

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.jsontools import Json
from paretune.core.measurement import Measurement
from paretune.search.constraints import Limit, Objective
from paretune.search.pareto import best_of, nearest_miss, pareto_front, surely_dominated
from paretune.search.tolerance import Tolerance, parse_tolerance

BOTH = (Objective("acc", "maximize"), Objective("ms", "minimize"))

# acc
#  .9 |        2     4         front: 1, 2 (more accurate needs more ms)
#  .8 |  1     3  6            3, 6: as slow as 2 or slower, less accurate
#  .7 |     5                  5: slower than 1, less accurate; 4: slower than 2
#     +------------------ ms
#        1  2  3  4  5
DRAWN = {
    1: {"acc": 0.8, "ms": 1.0},
    2: {"acc": 0.9, "ms": 3.0},
    3: {"acc": 0.8, "ms": 3.0},
    4: {"acc": 0.9, "ms": 5.0},
    5: {"acc": 0.7, "ms": 2.0},
    6: {"acc": 0.8, "ms": 4.0},
}


def test_the_drawn_front() -> None:
    assert pareto_front(DRAWN, BOTH) == [1, 2]


def test_equals_are_all_kept_and_what_lacks_a_value_is_not() -> None:
    rows = {
        1: {"acc": 0.9, "ms": 1.0},
        2: {"acc": 0.9, "ms": 1.0},
        3: {"acc": 1.0},
        4: {"acc": math.nan, "ms": 0.1},
    }
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
        return [
            v if o.direction == "minimize" else -v for v, o in zip(found, objectives, strict=True)
        ]

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


def row(acc: float, ms: float, mb: float = 1.0) -> dict[str, Measurement]:
    return {"acc": m(acc), "ms": m(ms), "mb": m(mb)}


def within(text: Json, *more: Objective) -> tuple[Objective, ...]:
    return (Objective("acc", "maximize", parse_tolerance(text)), *more, BOTH[1])


PICKED = {1: row(0.837, 7.0), 2: row(0.738, 6.8), 3: row(0.829, 6.9)}


def test_the_pick_is_the_best_by_the_next_of_those_within_the_tolerance_by_value() -> None:
    assert best_of([1, 2, 3], PICKED, BOTH) == 3  # 1% of 0.837 is 0.00837
    assert best_of([1, 2, 3], PICKED, within(0.01)) == 3
    assert best_of([1, 2, 3], PICKED, within(0.005)) == 1
    assert best_of([1, 2, 3], PICKED, within(0)) == 1
    assert best_of([1, 2, 3], PICKED, within("12%")) == 2
    assert best_of([1, 2, 3], PICKED, BOTH, prefer="ms") == 2  # 6.9 is beyond 1% of 6.8
    assert best_of([], PICKED, BOTH) is None


def test_intervals_do_not_let_a_surely_worse_one_through() -> None:
    wide = {id: {"acc": m(r["acc"].value or 0, 0.06), "ms": r["ms"]} for id, r in PICKED.items()}
    assert best_of([1, 2], wide, BOTH) == 1


def test_without_intervals_the_values_decide_alike() -> None:
    bare = {
        i: {"acc": Measurement("acc", a, ""), "ms": m(s)}
        for i, a, s in ((1, 0.92, 9.0), (2, 0.915, 5.0), (3, 0.90, 1.0))
    }
    assert best_of([1, 2, 3], bare, BOTH) == 2


def test_with_three_objectives_the_tolerances_apply_in_order() -> None:
    rows = {
        1: row(0.90, 10.0, 1.0),
        2: row(0.90, 10.05, 5.0),
        3: row(0.895, 9.0, 9.0),
        4: row(0.80, 1.0, 2.0),
    }
    mb = Objective("mb", "minimize", parse_tolerance("10%"))
    assert best_of([1, 2, 3, 4], rows, within(0.01, mb)) == 1  # 3 and 2 are beyond 10% of 1 MB
    ms, last = Objective("ms", "minimize", parse_tolerance(2.0)), Objective("mb", "minimize")
    three = (Objective("acc", "maximize", parse_tolerance(0.01)), ms, last)
    assert best_of([1, 2, 3, 4], rows, three) == 1
    assert best_of([2, 3], rows, three) == 2


def test_ties_in_the_last_objective_go_to_the_better_then_to_the_lower_id() -> None:
    rows = {1: row(0.90, 5.0, 2.0), 2: row(0.905, 5.0, 3.0), 3: row(0.905, 5.0, 3.0)}
    assert best_of([1, 2, 3], rows, BOTH) == 2
    three = (BOTH[1], Objective("mb", "minimize"), BOTH[0])
    bare = {id: {k: Measurement(k, v.value, "") for k, v in r.items()} for id, r in rows.items()}
    assert best_of([1, 2, 3], bare, three) == 1


@given(
    st.dictionaries(st.integers(1, 9), st.tuples(*[st.floats(-1e3, 1e3)] * 3), min_size=1),
    st.tuples(*[st.floats(0, 50)] * 3),
    st.booleans(),
    st.permutations(["acc", "ms", "mb"]),
)
def test_the_pick_is_within_the_first_tolerance_and_a_wider_one_never_slows_it(
    drawn: dict[int, tuple[float, float, float]],
    reach: tuple[float, float, float],
    relative: bool,
    names: list[str],
) -> None:
    measured = {id: row(*values) for id, values in drawn.items()}
    objectives = tuple(
        Objective(
            name,
            "maximize" if name == "acc" else "minimize",
            Tolerance(amount / 100 if relative else amount, relative),
        )
        for name, amount in zip(names, reach, strict=True)
    )
    best = best_of(list(measured), measured, objectives)
    assert best is not None
    first = objectives[0]
    found = {id: r[first.metric].value or 0.0 for id, r in measured.items()}
    top = (max if first.direction == "maximize" else min)(found.values())
    short = first.shortfall(found[best], top)
    assert not short or first.within.holds(short, top)
    two = objectives[:2]
    wider = (Objective(first.metric, first.direction, Tolerance(1e9)), two[1])
    ends = [
        measured[id][two[1].metric].value or 0.0
        for id in (best_of(list(measured), measured, o) for o in (wider, two))
        if id is not None
    ]
    assert two[1].shortfall(ends[1], ends[0]) >= 0


def test_the_nearest_miss_has_the_smallest_largest_violation() -> None:
    limits = (Limit("acc", ">=", 0.8, "acc >= 0.8"), Limit("ms", "<=", 2.0, "ms <= 2"))
    rows = {1: {"acc": 0.4, "ms": 1.0}, 2: {"acc": 0.8, "ms": 2.2}, 3: {"acc": 0.9}}
    assert nearest_miss(rows, limits) == {
        "id": 2,
        "constraint": "ms <= 2",
        "value": 2.2,
        "limit": 2.0,
    }
    assert nearest_miss({}, limits) is None
    assert nearest_miss({3: {"acc": 0.9}}, limits) is None
