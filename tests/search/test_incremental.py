"""What is kept up at the cost of what is new is what is derived from everything.

Outcomes arrive in another order than by number (of builds in parallel a later one may end first),
are replaced (more was measured) and are removed (they are tried again).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fake_search import OBJECTIVES, noop
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.constraints import parse_constraint
from paretune.search.outcomes import Outcomes
from paretune.search.possible_dominators import PossibleDominators
from paretune.search.prefix_seconds import PrefixSeconds
from paretune.search.process_spreads import usual
from paretune.search.running_summary import RunningSummary
from paretune.search.stop_rule import Stopping, StopRule
from paretune.search.summary import summarize

SPECS = (
    MetricSpec("accuracy", "fraction", "maximize", False),
    MetricSpec("decode_ms_p50", "ms", "minimize", True),
)
CONSTRAINTS = (parse_constraint("accuracy >= 0.3"),)
KINDS = st.sampled_from([OutcomeKind.OK] * 3 + [OutcomeKind.INFEASIBLE, OutcomeKind.FAILED])
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove"]),
        st.integers(1, 12),
        KINDS,
        st.integers(0, 10),
        st.integers(1, 10),
        st.booleans(),
    ),
    max_size=25,
)


def outcome(
    id: int, kind: OutcomeKind, tenths: int, ms: int, at: float | None, promoted: bool
) -> TrialResult:
    measured = {
        "accuracy": Measurement("accuracy", tenths / 10, "fraction", protocol="exact-1"),
        "decode_ms_p50": Measurement("decode_ms_p50", float(ms), "ms", ms - 0.5, ms + 0.5),
    }
    return TrialResult(
        id,
        noop(x=id % 5),
        kind,
        measurements=measured,
        seconds=(StepTime("noop", float(ms), False),),
        ran_job=promoted,
        ended_s=at,
    )


@settings(deadline=None, max_examples=50)
@given(CHANGES, st.booleans())
def test_in_whatever_order_they_come(changes: list[Any], early_version: bool) -> None:
    some = Outcomes()
    running, seconds = RunningSummary(OBJECTIVES, CONSTRAINTS), PrefixSeconds()
    dominators = PossibleDominators(OBJECTIVES, SPECS)
    stopping = Stopping(StopRule(0.1, 2), OBJECTIVES, noop(x=1).digest)
    for at, (what, id, kind, tenths, ms, ran) in enumerate(changes):
        if what == "put":
            ended = None if early_version and id % 3 == 0 else float(at)
            some.put(outcome(id, kind, tenths, ms, ended, ran))
        elif some.get(id) is not None:
            some.remove(some[some.place(outcome(id, kind, 0, 1, 0.0, True))])
        plain = list(some)
        summary = running.of(some, None)
        assert summary == summarize(plain, OBJECTIVES, CONSTRAINTS, None)
        assert sorted(summary.feasible) == sorted(
            summarize(plain, OBJECTIVES, CONSTRAINTS, None).feasible
        )
        feasible = {o.id: o for o in plain if o.id in summary.feasible}
        anew = PossibleDominators(OBJECTIVES, SPECS).among(feasible, None)
        now = dominators.of(some, summary, None)
        # Of two with the same worst case the one that came first stays.
        assert _worst(now) == _worst(anew)
        stopping._look_at(some)
        fresh = Stopping(StopRule(0.1, 2), OBJECTIVES, noop(x=1).digest)
        fresh._look_at(plain)
        assert (stopping._ends, stopping._with_baseline) == (fresh._ends, fresh._with_baseline)
        assert usual(some) == usual(plain)
        kept = seconds.of(noop(x=id % 5), some, {})
        alike = [o for o in plain if o.candidate == noop(x=id % 5)]
        assert kept == ([None] if not alike else kept)
        assert kept[0] is None or kept[0] in {o.seconds[0].s for o in alike}


def _worst(found: Any) -> list[Any]:
    return sorted((m["accuracy"].value, m["decode_ms_p50"].high) for m in found.values())


@given(st.lists(st.integers(1, 9), unique=True, min_size=1))
def test_what_was_derived_before_stays_as_it_was(ids: list[int]) -> None:
    some, running = Outcomes(), RunningSummary(OBJECTIVES, ())
    found = []
    for place, id in enumerate(ids):
        some.put(outcome(id, OutcomeKind.OK, 5, 5, 0.0, True))
        found.append((running.of(some, None), frozenset(ids[: place + 1])))
    for summary, feasible in found:
        assert summary.feasible == feasible == frozenset(summary.feasible)
        assert len(summary.feasible) == len(feasible)
        assert hash(summary.feasible) == hash(feasible)
        assert summary.feasible | {99} == feasible | {99}
        assert {99} | summary.feasible == feasible | {99}
        assert replace(summary) == summary
