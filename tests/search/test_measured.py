"""What was measured, kept as it comes: its front is that of all results at any time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Limit, Objective
from paretune.search.pareto import pareto_front
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.measured import Measured, is_feasible
from paretune.search.summary import values
from paretune.search.surrogate.encoding import Encoding

OBJECTIVES = (Objective("up", "maximize"), Objective("down", "minimize"))
SPACE = Space((PassSlot("a", {"n": tuple(range(64))}),), threads=(1,))
SOME = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan])
KINDS = st.sampled_from([OutcomeKind.OK] * 4 + [OutcomeKind.PRUNED, OutcomeKind.FAILED])
LIMITS = st.lists(st.builds(lambda v: Limit("up", ">=", v, f"up >= {v}"), SOME), max_size=1)


def result(id: int, kind: OutcomeKind, up: float, down: float | None, n: int) -> TrialResult:
    candidate = Candidate((Step("a", {"n": n}),), RuntimeSettings("cpu", 1))
    found = {"up": Measurement("up", up, "")}
    if down is not None:
        found["down"] = Measurement("down", down, "")
    return TrialResult(id, candidate, kind, measurements=found)


@given(
    st.lists(
        st.tuples(KINDS, SOME, SOME | st.none(), st.integers(0, 70), LIMITS | st.none()),
        max_size=25,
    )
)
def test_the_front_is_that_of_all_results_under_the_limits_of_the_moment(
    told: list[tuple[OutcomeKind, float, float | None, int, list[Limit] | None]],
) -> None:
    measured = Measured(Encoding(SPACE), OBJECTIVES)
    for id, (kind, up, down, n, limits) in enumerate(told):
        measured.add(result(id, kind, up, down, n))
        if limits is None:  # nobody asks
            continue
        whole = {
            r.id: r
            for r in measured.all
            if r.kind is OutcomeKind.OK and len(values(r)) == 2 and _inside(r)
        }
        among = {id: r for id, r in whole.items() if is_feasible(r, limits)} or whole
        wanted = pareto_front({id: values(r) for id, r in among.items()}, OBJECTIVES)
        assert [r.id for r in measured.front(limits)] == wanted
        assert [r.id for r in measured.whole] == list(whole)


def _inside(of: TrialResult) -> bool:
    return int(str(of.candidate.recipe[0].params["n"])) < 64


@pytest.mark.parametrize(
    ("kind", "tried", "ran"),
    [
        (OutcomeKind.OK, 1, 1),
        (OutcomeKind.PRUNED, 1, 1),
        (OutcomeKind.FAILED, 0, 1),
        (OutcomeKind.SKIPPED, 0, 0),
    ],
)
def test_what_counts_as_tried_and_as_run(kind: OutcomeKind, tried: int, ran: int) -> None:
    measured = Measured(Encoding(SPACE), OBJECTIVES)
    measured.add(result(0, kind, 1.0, 1.0, 3))
    assert (len(measured.tried), measured.ran) == (tried, ran)
