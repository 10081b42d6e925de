"""Who takes part in the finals: those that may be the choice after all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fake_search import OBJECTIVES, make_engine, noop
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.confirm.closeness import likeliest_first, nearest_to_limits
from paretune.search.confirm.topk import TopK
from paretune.search.constraints import parse_constraint
from paretune.search.process_spreads import refreshed, usual
from paretune.search.sharing import taken_over
from paretune.stats.pooling import spreads_of


def measured(accuracy: float, ms: float, half: float = 0.2) -> dict[str, Measurement]:
    processes = [{"n": 1, "value": ms + d * half, "round": None} for d in (-0.2, 0.0, 0.3)]
    return {
        "accuracy": Measurement("accuracy", accuracy, "fraction", accuracy - 0.02, accuracy + 0.02),
        "decode_ms_p50": Measurement(
            "decode_ms_p50", ms, "ms", ms - half, ms + half, details={"processes": processes}
        ),
    }


def test_the_only_two_within_the_noise_of_the_pick_are_in_the_finals(tmp_path: Path) -> None:
    """The front has nine members with lower numbers, which are surely faster and worse."""
    outcomes = []
    for id in range(1, 10):
        m = measured(0.5 + id / 50, 2.0 + id / 2)
        outcomes.append(TrialResult(id, noop(x=id), OutcomeKind.OK, measurements=m))
    for id, ms in ((10, 10.0), (11, 10.1), (12, 10.05)):
        m = measured(0.9 + id / 1000, ms)
        outcomes.append(TrialResult(id, noop(x=id), OutcomeKind.OK, measurements=m))
    candidates = [o.candidate for o in outcomes]
    engine = make_engine(tmp_path, candidates, told=outcomes)
    pick = engine.summary().best
    assert pick in (10, 11, 12)
    chosen = TopK(engine).finalists()
    assert chosen[0] == pick
    assert set(chosen[:3]) == {10, 11, 12}


VALUES = st.dictionaries(
    st.integers(1, 20), st.tuples(st.floats(0.1, 1.0), st.floats(1.0, 50.0)), min_size=1, max_size=9
)


@given(VALUES)
def test_everyone_comes_once_the_pick_first_and_overlap_before_distance(
    values: dict[int, tuple[float, float]],
) -> None:
    rows = {id: measured(*point) for id, point in values.items()}
    pick = min(rows)
    order = likeliest_first(pick, rows, rows, OBJECTIVES)
    assert order[0] == pick
    assert sorted(order) == sorted(rows)
    overlap = [
        all(
            a[o.metric].low <= b[o.metric].high and b[o.metric].low <= a[o.metric].high  # type: ignore[operator]
            for o in OBJECTIVES
        )
        for a, b in ((rows[id], rows[pick]) for id in order)
    ]
    others = [id for id, over in zip(order, overlap, strict=True) if over]
    far = [id for id, over in zip(order, overlap, strict=True) if not over]
    within = [id for id in far if order.index(id) < max(map(order.index, others))]
    for id in within:  # not further from it than the tolerance allows
        gap = rows[pick]["accuracy"].low - rows[id]["accuracy"].high  # type: ignore[operator]
        assert gap <= 0.01 * values[pick][0] + 1e-9


def test_where_nobody_is_feasible_the_nearest_to_its_limits_leads() -> None:
    limits = [parse_constraint("decode_ms_p50 <= 10").resolve({})]
    rows = {1: measured(0.9, 10.6), 2: measured(0.8, 10.1), 3: measured(0.7, 10.4)}
    assert nearest_to_limits(rows, rows, [x for x in limits if x is not None]) == 2
    assert nearest_to_limits([], rows, []) is None


def test_the_first_candidates_draw_on_those_after_them() -> None:
    outcomes = [
        TrialResult(id, noop(x=id), OutcomeKind.OK, measurements=measured(0.5, 10.0 + id, 0.1))
        for id in range(1, 31)
    ]
    again = refreshed(outcomes, None)
    assert [o.id for o in again] == list(range(1, 31))
    for before, after in zip(outcomes, again, strict=True):
        old = (before.measurements or {})["decode_ms_p50"]
        new = (after.measurements or {})["decode_ms_p50"]
        assert new.value == old.value
        assert new.details["spread"] == {"from": 30}
        assert (before.measurements or {})["accuracy"] == (after.measurements or {})["accuracy"]
    assert refreshed(again, None) == [], "once"
    first = outcomes[0].measurements or {}
    taken = {**first, "decode_ms_p50": taken_over(first["decode_ms_p50"], 2, 0.1)}
    others = refreshed([replace(outcomes[0], measurements=taken), *outcomes[1:]], None)
    assert [o.id for o in others] == list(range(2, 31)), "what was taken over stays"
    assert refreshed(outcomes[:4], None) == [], "too few to learn from"
    assert usual(outcomes) == spreads_of([o.measurements or {} for o in reversed(outcomes)])
