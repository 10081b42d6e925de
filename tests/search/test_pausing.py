"""A trial is paused after a rung, promoted, and continued by another process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asha import Asha
from fake_search import OBJECTIVES, FakeTarget, Memory, make_engine, noop, recipe_of

from paretune.core.candidate import Candidate
from paretune.core.errors import UsageError
from paretune.core.measurement import Rung
from paretune.core.result import NOT_PROMOTED, OutcomeKind, TrialResult
from paretune.core.trial_forecast import MetricForecast, TrialForecast
from paretune.search.engine import Engine
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.base import Ended, Event, Measured, Promote, Request, Start, View
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.search.strategies.full_trials import as_strategy, rebuild
from paretune.search.trial_state import Trial


class Scripted:
    """Makes the requests that it is given, one after another, and keeps the events."""

    def __init__(self, *requests: Request) -> None:
        self.requests = list(requests)
        self.events: list[Event] = []
        self.views: list[View] = []

    def ask(self, view: View) -> Request | None:
        self.views.append(view)
        return self.requests.pop(0) if self.requests else None

    def tell(self, event: Event) -> None:
        self.events.append(event)


def engine_of(folder: Path, *requests: Request, **settings: Any) -> Engine:
    """Return an engine whose strategy makes these requests; candidate `x=0` is the baseline."""
    settings.setdefault("trials", 99)
    engine = make_engine(folder, [noop(x=0)], **settings)
    engine.strategy = Scripted(Start(noop(x=0)), *requests)
    return engine


def jobs(engine: Engine) -> list[str]:
    assert isinstance(engine.target, FakeTarget)
    return engine.target.jobs


def test_a_trial_is_paused_after_its_rung_and_promoted(tmp_path: Path) -> None:
    engine = engine_of(
        tmp_path,
        Start(noop(x=1, ms=5.0), until=Rung.SMOKE),
        Start(noop(x=2, ms=6.0, quality=0.95), until=Rung.ROUGH),
        Promote(2, until=Rung.ROUGH),
        Promote(3),
        Promote(2),
    )
    engine.run()
    assert jobs(engine)[6:] == [
        *("build", "smoke"),
        *("build", "smoke", "generation:rough", "classification:rough"),
        *("generation:rough", "classification:rough"),
        *("generation:full", "classification:full") * 2,
    ]
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK] * 3
    assert not engine.recorder.paused


def test_what_stays_paused_is_pruned_with_its_rung(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, Start(noop(x=1, ms=5.0), until=Rung.ROUGH))
    shown: list[str] = []
    engine.watcher.outcome = (  # type: ignore[method-assign]
        lambda outcome, best, front: shown.append(f"{outcome.id} {outcome.kind} {outcome.reason}")
    )
    summary = engine.run()
    outcome = engine.recorder.outcomes[1]
    assert (outcome.kind, outcome.rung) == (OutcomeKind.PRUNED, Rung.ROUGH)
    assert outcome.reason == NOT_PROMOTED == "not promoted"
    assert outcome.value("decode_ms_p50") == 5.0
    assert shown[-1] == "2 pruned not promoted"
    assert summary.feasible == {1}
    assert engine.recorder.trials() == 2


def test_it_is_continued_from_its_rung_by_another_engine(tmp_path: Path) -> None:
    before = engine_of(tmp_path, Start(noop(x=1, ms=5.0), until=Rung.ROUGH))
    before.run()
    after = make_engine(tmp_path, [noop(x=0)], trials=9, told=before.recorder.outcomes)
    assert isinstance(after.recorder, Memory)
    (trial,) = before.recorder.paused.values()
    after.recorder.paused[2] = Trial.from_json(trial.to_json())
    after.run()  # the strategy knows nothing of it: it is promoted first
    assert jobs(after)[:3] == ["build", "generation:full", "classification:full"]
    assert [o.kind for o in after.recorder.outcomes[:2]] == [OutcomeKind.OK] * 2
    steps = [step.step for step in after.recorder.outcomes[1].seconds]
    assert steps.count("generation:rough") == steps.count("noop") - 1 == 1
    assert after.recorder.trials() == len(after.recorder.outcomes)


def test_another_artifact_makes_what_was_measured_void(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, Promote(2))
    assert isinstance(engine.recorder, Memory)
    stale = Trial(2, noop(x=1), "sha256:of another build", {Rung.SMOKE: {}, Rung.ROUGH: {}})
    engine.recorder.paused[2] = stale
    engine.run()
    assert jobs(engine)[6:9] == ["build", "smoke", "generation:rough"]
    assert engine.recorder.outcomes[1].kind is OutcomeKind.OK


def test_a_trial_survives_json() -> None:
    kept: list[Trial] = []
    strategy = Scripted(Start(noop(x=0)), Start(noop(x=1), until=Rung.ROUGH))

    def run(folder: Path) -> None:
        engine = make_engine(folder, [noop(x=0)], trials=9)
        engine.strategy = strategy
        engine.run()
        kept.extend(engine.recorder.paused.values())

    run(Path())
    (trial,) = kept
    again = Trial.from_json(trial.to_json())
    assert again == Trial.from_json(again.to_json())
    assert (again.id, again.candidate, again.measured) == (2, noop(x=1), trial.measured)
    assert [s.step for s in again.seconds] == [s.step for s in trial.seconds]
    with pytest.raises(ValueError, match="later version"):
        Trial.from_json({**trial.to_json(), "schema": 2})


def test_what_a_strategy_expects_is_kept_with_the_trial_and_its_outcome(tmp_path: Path) -> None:
    forecast = TrialForecast({"decode_ms_p50": MetricForecast(6.0, 4.0, 9.0)}, seconds=2.0)
    begun = Start(noop(x=1, ms=5.0), until=Rung.ROUGH, forecast=forecast)
    before = engine_of(tmp_path, begun)
    before.run()
    (trial,) = before.recorder.paused.values()
    assert before.recorder.outcomes[1].forecast == trial.forecast == forecast
    assert before.recorder.outcomes[0].forecast is None
    after = make_engine(tmp_path, [noop(x=0)], trials=2, told=before.recorder.outcomes)
    assert isinstance(after.recorder, Memory)
    after.recorder.paused[2] = Trial.from_json(trial.to_json())
    after.run()
    ended = after.recorder.outcomes[1]
    assert (ended.kind, ended.forecast) == (OutcomeKind.OK, forecast)
    assert TrialResult.from_json(ended.to_json()).forecast == forecast
    assert "forecast" not in after.recorder.outcomes[0].to_json()


def test_the_seconds_of_the_answers_are_kept_with_the_trial(tmp_path: Path) -> None:
    now = [0.0]

    class Thinks(Scripted):
        def ask(self, view: View) -> Request | None:
            now[0] += 0.25
            return super().ask(view)

    engine = engine_of(tmp_path)
    engine.clock = lambda: now[0]
    begun = Start(noop(x=1, ms=5.0), until=Rung.ROUGH)
    engine.strategy = Thinks(Start(noop(x=0)), begun, Promote(2), Start(noop(x=2, ms=7.0)))
    engine.run()
    asked = [outcome.asked_s for outcome in engine.recorder.outcomes]
    assert asked == [0.25, 0.5, 0.25]
    assert [TrialResult.from_json(o.to_json()).asked_s for o in engine.recorder.outcomes] == asked


def test_a_strategy_receives_each_event_and_again_when_it_is_rebuilt(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, Start(noop(x=1, ms=5.0), until=Rung.ROUGH))
    engine.run()
    strategy = engine.strategy
    assert isinstance(strategy, Scripted)
    events = [type(event).__name__ for event in strategy.events]
    assert events == ["Built", "Measured", "Measured", "Ended", "Built", "Measured", "Measured"]
    again = Scripted()
    rebuild(again, [Ended(engine.recorder.outcomes[0])], engine.recorder.paused.values())
    assert [type(e) for e in again.events] == [type(e) for e in strategy.events[3:]]
    received = [e.trial.measured for e in again.events if isinstance(e, Measured)]
    assert received == [e.trial.measured for e in strategy.events[4:] if isinstance(e, Measured)]


def test_the_view_has_trials_costs_and_slots(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, Start(noop(x=1), until=Rung.ROUGH))
    engine.job_factory.built_steps = (  # type: ignore[method-assign]
        lambda candidate: int(candidate == noop(x=1))
    )
    engine.run()
    strategy = engine.strategy
    assert isinstance(strategy, Scripted)
    view = strategy.views[-1]
    assert (view.paused, view.free_slots, view.trials[2].rung) == ([2], 1, Rung.ROUGH)
    (cost,) = view.cost(noop(x=1))
    assert (cost.step, cost.built, cost.observed_s) == ("noop", True, 1.0)
    (cost,) = view.cost(noop(x=7))
    assert (cost.built, cost.observed_s, cost.estimated_s) == (False, None, None)
    assert cost.resumes is None
    engine.job_factory.resumed_share = lambda candidate: 0.25  # type: ignore[attr-defined]
    engine.job_factory.run_of = str  # type: ignore[attr-defined]
    (cost,) = view.cost(noop(x=7))
    assert cost.resumes == 0.25
    (cost,) = view.cost(noop(x=1))
    assert cost.resumes is None, "it is built"


def test_the_baseline_is_never_paused(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=0)], ("accuracy >= baseline - 0.1",), trials=9)
    engine.strategy = Scripted(Start(noop(x=0), until=Rung.SMOKE))
    engine.run()
    assert engine.recorder.outcomes[0].kind is OutcomeKind.OK


def test_a_proposer_does_not_start_what_is_paused_or_in_flight(tmp_path: Path) -> None:
    before = engine_of(tmp_path, Start(noop(x=1), until=Rung.ROUGH))
    before.run()
    candidates = [noop(x=0), noop(x=1), noop(x=2)]
    made = Exhaustive(Space((PassSlot("noop", {"x": (0, 1, 2)}),)), OBJECTIVES, 0, candidates)
    strategy = as_strategy(made)
    rebuild(strategy, [Ended(before.recorder.outcomes[0])], before.recorder.paused.values())
    view = before.scheduler.view()
    assert strategy.ask(view) == Promote(2)
    view = replace(view, paused=[])  # it is in flight
    assert strategy.ask(view) == Start(noop(x=2))
    assert strategy.ask(view) is None


def test_a_promotion_that_is_surely_beaten_by_now_is_not_measured_on(tmp_path: Path) -> None:
    bad = noop(x=1, quality=0.5, ms=50.0)
    engine = make_engine(tmp_path, [noop(x=0)], trials=9)
    engine.strategy = Scripted(Start(bad, until=Rung.SMOKE), Start(noop(x=0)), Promote(1))
    engine.run()
    assert engine.recorder.outcomes[0].kind is OutcomeKind.PRUNED
    assert engine.recorder.outcomes[0].reason != NOT_PROMOTED


def test_a_promotion_of_what_is_not_paused_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="promotes trial 7, which is not paused"):
        engine_of(tmp_path, Promote(7)).run()


def test_a_trial_that_is_cut_at_the_deadline_keeps_its_rungs(tmp_path: Path) -> None:
    engine = engine_of(
        tmp_path, Start(noop(x=1), until=Rung.ROUGH), Promote(2), time_s=3.0, finals_s=0.0
    )

    class Hangs(FakeTarget):
        def _answer(self, job: Any) -> Any:
            late = (
                self.jobs.count("generation:full") > 0
                and getattr(job.task, "rung", None) is Rung.FULL
            )
            second = recipe_of(job)[-1].params.get("x") == 1
            return None if late and second else super()._answer(job)

    engine.target = Hangs()
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert engine.out_of_time
    assert (outcome.reason, outcome.rung) == (NOT_PROMOTED, Rung.ROUGH)
    assert engine.recorder.paused[2].rung is Rung.ROUGH
    assert engine.recorder.spent() > 1.0, "the job that was stopped"


SPACE = Space((PassSlot("noop", {"x": tuple(range(12)), "ms": (10.0, 20.0)}),))


def _asha(folder: Path, **settings: Any) -> Engine:
    engine = make_engine(folder, [noop(x=0)], **settings)
    engine.space = SPACE
    engine.strategy = Asha(SPACE, OBJECTIVES, seed=1, first=[noop(x=0)])
    return engine


def _quality(candidate: Candidate) -> float:
    return 0.5 + 0.03 * int(str(candidate.recipe[-1].params["x"]))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the accuracy follow from `x`, so that halving has something to find."""
    value = FakeTarget._value

    def by_x(self: FakeTarget, job: Any, params: dict[str, Any]) -> Any:
        quality = {"quality": 0.5 + 0.03 * int(params["x"])} if job.kind == "measure" else {}
        return value(self, job, {**params, **quality})

    monkeypatch.setattr(FakeTarget, "_value", by_x)


@pytest.mark.usefixtures("judged")
def test_asynchronous_halving_promotes_the_best_third(tmp_path: Path) -> None:
    engine = _asha(tmp_path, trials=99)
    engine.shortcuts = engine.shortcuts.__class__(early_stops=True, duplicates=False)
    engine.run()
    kinds = [(o.kind, o.reason) for o in engine.recorder.outcomes]
    assert len(kinds) == SPACE.size + 1
    promoted = [o for o in engine.recorder.outcomes if o.rung is Rung.FULL]
    left = [o for o in engine.recorder.outcomes if o.not_promoted]
    assert 0 < len(promoted) <= 1 + SPACE.size // 3 + 3
    assert left
    best = max(_quality(o.candidate) for o in promoted)
    assert best == max(map(_quality, SPACE))


@pytest.mark.usefixtures("judged")
def test_asynchronous_halving_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    whole = _asha(tmp_path, trials=20)
    whole.run()
    before = _asha(tmp_path, trials=8)
    before.run()
    after = _asha(tmp_path, trials=20, told=None)
    assert isinstance(after.recorder, Memory)
    after.recorder.outcomes += before.recorder.outcomes
    after.recorder.paused |= {
        id: Trial.from_json(trial.to_json()) for id, trial in before.recorder.paused.items()
    }
    ended = [o for o in before.recorder.outcomes if o.id not in before.recorder.paused]
    after.strategy = Asha(SPACE, OBJECTIVES, seed=1, first=[noop(x=0)])
    rebuild(after.strategy, map(Ended, ended), before.recorder.paused.values())
    after.run()
    assert [(o.candidate, o.kind, o.rung) for o in after.recorder.outcomes] == [
        (o.candidate, o.kind, o.rung) for o in whole.recorder.outcomes
    ]
