"""Whoever would win by a value of another candidate measures it first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import OBJECTIVES, FakeTarget, make_engine, measures, noop, recipe_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paretune.core.candidate import Candidate
from paretune.core.job import Job, JobResult, JobStatus
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind
from paretune.search.constraints import parse_constraint
from paretune.search.engine import Engine
from paretune.search.run import Shortcuts
from paretune.search.sharing import taken_over
from paretune.search.summary import rests_on_others, summarize

SPEED = "decode_ms_p50"
BASE = noop(structure="s", quality=0.9, x=0)
BETTER = noop(structure="s", quality=0.99, x=1)
WORSE = noop(structure="s", quality=0.5, x=2)


def engine_of(folder: Path, candidates: list[Candidate], *limits: str, **settings: Any) -> Engine:
    settings.setdefault("finals_s", 20.0)
    return make_engine(folder, candidates, limits, **settings)


def taken(engine: Engine) -> list[int | None]:
    return [(o.measurements or {})[SPEED].details.taken_from for o in engine.recorder.outcomes]


def count(engine: Engine, job: str) -> int:
    assert isinstance(engine.target, FakeTarget)
    return engine.target.jobs.count(job)


def pruned(engine: Engine) -> int:
    return sum(o.kind is OutcomeKind.PRUNED for o in engine.recorder.outcomes)


def test_who_would_be_on_the_front_is_measured_and_nobody_else(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, [BASE, WORSE, BETTER])
    summary = engine.run()
    assert taken(engine) == [None, 1, None]
    assert (summary.best, summary.front, summary.unsettled) == (3, (3,), ())
    assert count(engine, "generation:full") == 2
    assert count(engine, "classification:full") == 3
    best = engine.recorder.outcomes[2]
    assert [s.cached for s in best.seconds if s.step == "generation:full"] == [True, False]


@pytest.mark.parametrize("finals_s", [0.0, 20.0])
def test_before_it_has_measured_itself_it_is_not_the_best(tmp_path: Path, finals_s: float) -> None:
    engine = engine_of(tmp_path, [BASE, BETTER], f"{SPEED} <= 100", finals_s=finals_s)
    seen: list[tuple[int | None, frozenset[int]]] = []
    engine.on_outcome = lambda outcome, summary: seen.append((summary.best, summary.feasible))
    engine.on_update = lambda summary: seen.append((summary.best, summary.feasible))
    engine.run()
    assert seen[:3] == [(1, {1}), (1, {1}), (2, {1, 2})]


def test_without_finals_it_is_measured_when_its_trial_has_ended(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, [BASE, BETTER, WORSE], finals_s=0.0)
    engine.run()
    assert taken(engine) == [None, None, 1]
    assert isinstance(engine.target, FakeTarget)
    builds = [n for n, job in enumerate(engine.target.jobs) if job == "build"]
    own = [n for n, job in enumerate(engine.target.jobs) if job == "generation:full"]
    assert builds[2] < own[1] < builds[3]  # the third trial begins after it


class Unlike(FakeTarget):
    """The second of two builds of one structure is slower than the first, as none should be."""

    def _answer(self, job: Job) -> JobResult | None:
        found = super()._answer(job)
        if found is not None and measures(job, "generation") and recipe_of(job)[0].params["x"] == 1:
            ms = 200.0
            found = replace(
                found, value=[Measurement(SPEED, ms, "ms", ms - 1, ms + 1, 10, "fake-1")]
            )
        return found


def test_its_own_value_decides_a_limit(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, [BASE, BETTER], f"{SPEED} <= 100")
    engine.target = Unlike()
    summary = engine.run()
    assert (summary.best, summary.feasible) == (1, {1})
    assert engine.recorder.outcomes[1].value(SPEED) == 200.0


def test_a_limit_that_a_value_of_another_breaks_is_not_broken_by_it(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, [BASE, BETTER])
    engine.run()
    first, second = engine.recorder.outcomes
    own = (second.measurements or {})[SPEED]
    slow = replace(taken_over(replace(own, value=500.0, low=490.0, high=510.0), 1, 0.05))
    second = replace(second, measurements={**(second.measurements or {}), SPEED: slow})
    limit = (parse_constraint(f"{SPEED} <= 100"),)
    found = summarize([first, second], OBJECTIVES, limit, first)
    assert (found.feasible, found.unsettled) == ({1}, (2,))


def test_one_that_fails_at_it_has_that_outcome(tmp_path: Path) -> None:
    better = noop(structure="s", quality=0.99, x=1, at="measure", status="failed", times=0)
    engine = engine_of(tmp_path, [BASE, better])

    class Failing(FakeTarget):
        def _answer(self, job: Job) -> JobResult | None:
            if measures(job, "generation") and recipe_of(job)[0].params["x"] == 1:
                return JobResult(JobStatus.FAILED, None, "no memory left")
            return super()._answer(job)

    engine.target = Failing()
    summary = engine.run()
    second = engine.recorder.outcomes[1]
    assert (second.kind, second.reason) == (OutcomeKind.FAILED, "no memory left")
    assert summary.best == 1


def test_if_the_time_does_not_suffice_the_pick_is_another_one(tmp_path: Path) -> None:
    from paretune.study.measurement_notes import unsettled_notes

    engine = engine_of(tmp_path, [BASE, BETTER])
    notes: list[str] = []
    engine.watcher.note = notes.append  # type: ignore[method-assign]

    class Slow(FakeTarget):
        """The candidate's own measurement never ends."""

        def _answer(self, job: Job) -> JobResult | None:
            if measures(job, "generation") and recipe_of(job)[0].params["x"] == 1:
                engine.time_budget._end = 0.0
                return None
            return super()._answer(job)

    engine.target = Slow()
    engine.time_s = 1000.0
    summary = engine.run()
    assert (summary.best, summary.unsettled) == (1, (2,))
    (told,) = unsettled_notes(engine.recorder.outcomes, summary)
    assert "candidate 2 may be on the Pareto front" in told
    assert f"{SPEED} of candidate 1" in told
    assert engine.recorder.wasted > 0  # type: ignore[attr-defined]


SPEEDS = (4.0, 7.0, 12.0)
BUILDS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 19)), min_size=1, max_size=8)


@settings(max_examples=40)
@example([(0, 1), (0, 4), (1, 1)], (), True, True)
@given(
    BUILDS,
    st.sampled_from([(), (f"{SPEED} <= 8",), ("accuracy >= 0.5",)]),
    st.booleans(),
    st.booleans(),
)
def test_a_search_finds_the_same_and_no_decision_rests_on_what_was_taken_over(
    tmp_path_factory: pytest.TempPathFactory,
    builds: list[tuple[int, int]],
    limits: tuple[str, ...],
    finals: bool,
    early_stops: bool,
) -> None:
    folder = tmp_path_factory.mktemp("law")
    candidates = [
        noop(structure=f"s{kind}", ms=SPEEDS[kind], quality=quality / 20, x=x)
        for x, (kind, quality) in enumerate(builds)
    ]
    more: dict[str, Any] = {"finals_s": 20.0 if finals else 0.0}
    shares = Shortcuts(early_stops=early_stops)
    shared = engine_of(folder, candidates, *limits, **more, shortcuts=shares)
    not_shared = replace(shares, structures=False)
    alone = engine_of(folder, candidates, *limits, **more, shortcuts=not_shared)
    found, whole = shared.run(), alone.run()
    assert (found.best, found.front) == (whole.best, whole.front)
    assert found.unsettled == ()
    # A value taken over stops no other candidate, which is measured to its end then.
    stops = max(0, pruned(alone) - pruned(shared))
    assert count(shared, "generation:full") <= count(alone, "generation:full") + stops
    assert count(shared, "generation:full") <= len(builds)
    limited = {limit.split()[0] for limit in limits}
    known = {o.id: o for o in shared.recorder.outcomes}
    for id in found.front:
        assert not rests_on_others(known[id], [SPEED])
    for id in found.feasible:
        assert not rests_on_others(known[id], limited)
    for outcome in known.values():
        if outcome.kind is OutcomeKind.INFEASIBLE and outcome.constraint == f"{SPEED} <= 8":
            assert not rests_on_others(outcome, [SPEED])
        if outcome.kind is OutcomeKind.PRUNED:
            assert not rests_on_others(outcome, [SPEED])


def test_the_pick_measures_what_decides_nothing_too(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, [BASE, BETTER, WORSE])
    engine.objectives = OBJECTIVES[:1]
    summary = engine.run()
    assert (summary.best, summary.front) == (2, (2,))
    assert taken(engine) == [None, None, 1]


def test_a_study_that_was_killed_before_goes_on_with_it(tmp_path: Path) -> None:
    class Killed(FakeTarget):
        def _answer(self, job: Job) -> JobResult | None:
            if measures(job, "generation") and recipe_of(job)[0].params["x"] == 1:
                raise KeyboardInterrupt
            return super()._answer(job)

    before = engine_of(tmp_path, [BASE, BETTER])
    before.target = Killed()
    with pytest.raises(KeyboardInterrupt):
        before.run()
    assert taken(before) == [None, 1]
    after = engine_of(tmp_path, [BASE, BETTER], told=before.recorder.outcomes)
    whole = engine_of(tmp_path, [BASE, BETTER])
    assert after.run() == whole.run()
    assert taken(after) == taken(whole) == [None, None]


def test_values_of_a_candidate_that_is_gone_are_taken_from_another_or_measured(
    tmp_path: Path,
) -> None:
    candidates = [BASE, noop(structure="t", quality=0.8, ms=5.0, x=1)]
    candidates += [noop(structure="t", quality=0.7, ms=5.0, x=x) for x in (2, 3)]
    first = engine_of(tmp_path, candidates)
    first.run()
    assert taken(first) == [None, None, 2, 2]
    kept = [o for o in first.recorder.outcomes if o.id != 2]
    alone = engine_of(tmp_path, [c for c in candidates if c != candidates[1]], told=kept)
    alone.run()
    assert [o.id for o in alone.recorder.outcomes] == [1, 3, 4]
    assert 2 not in taken(alone)
    assert None in taken(alone)[1:]


def test_a_new_value_of_the_source_is_taken_over(tmp_path: Path) -> None:
    first = engine_of(tmp_path, [BASE, WORSE])
    first.run()
    base, other = first.recorder.outcomes
    moved = replace((base.measurements or {})[SPEED], value=9.0, low=8.9, high=9.1)
    base = replace(base, measurements={**(base.measurements or {}), SPEED: moved})
    again = engine_of(tmp_path, [BASE, WORSE], told=[base, other])
    again.run()
    assert again.recorder.outcomes[1].value(SPEED) == 9.0
    assert taken(again) == [None, 1]
