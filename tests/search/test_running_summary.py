"""Derived from what is new, a standing is the same as derived from everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fake_search import OBJECTIVES, noop
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import parse_constraint
from paretune.search.running_summary import RunningSummary
from paretune.search.summary import rests_on_others, summarize

KINDS = st.sampled_from(
    [OutcomeKind.OK] * 4 + [OutcomeKind.INFEASIBLE, OutcomeKind.FAILED, OutcomeKind.PRUNED]
)
TAKEN = st.sampled_from([None, None, 1])
ROWS = st.lists(
    st.tuples(KINDS, st.integers(0, 8), st.one_of(st.none(), st.integers(1, 8)), TAKEN), max_size=25
)
CONSTRAINTS = st.sampled_from(
    [
        (),
        ("accuracy >= 0.4",),
        ("accuracy >= 0.9", "decode_ms_p50 <= 1"),
        ("decode_ms_p50 <= baseline * 0.9",),
    ]
)


def _outcome(
    id: int, kind: OutcomeKind, tenths: int, ms: int | None, taken: int | None
) -> TrialResult:
    measured = {"accuracy": Measurement("accuracy", tenths / 10, "fraction")}
    if ms is not None:
        speed = Measurement("decode_ms_p50", float(ms), "ms", ms - 1, ms + 1)
        measured["decode_ms_p50"] = speed.noting(taken_from=taken)
    return TrialResult(id, noop(x=id), kind, measurements=measured)


@given(ROWS, CONSTRAINTS, st.data())
def test_it_is_the_same_however_the_study_came_to_be(
    rows: list[Any], texts: tuple[str, ...], data: st.DataObject
) -> None:
    constraints = tuple(map(parse_constraint, texts))
    standings, outcomes = RunningSummary(OBJECTIVES, constraints), list[TrialResult]()
    for id, row in enumerate(rows, start=1):
        change = data.draw(st.sampled_from(["add", "add", "add", "replace", "forget"]))
        if change != "add" and outcomes:
            place = data.draw(st.integers(0, len(outcomes) - 1))
            if change == "replace":
                outcomes[place] = replace(_outcome(0, *row), id=outcomes[place].id)
            else:
                del outcomes[place]
        outcomes.append(_outcome(id, *row))
        base = next((o for o in outcomes if o.id == 1), None)
        whole = summarize(outcomes, OBJECTIVES, constraints, base)
        assert standings.of(outcomes, base) == whole
        taken = {o.id for o in outcomes if rests_on_others(o, ["decode_ms_p50"])}
        assert not taken & {*whole.front, whole.best}
        assert {*whole.unsettled} <= taken
        assert standings.of(outcomes, base) is standings.of(outcomes, base)
