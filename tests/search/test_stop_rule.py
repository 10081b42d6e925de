"""A search ends when it gains too little, and not before it could know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, measures, noop

from paretune.search.engine import Engine
from paretune.search.stop_rule import Stopping, StopRule, stopped_at
from paretune.search.strategies.exhaustive import Exhaustive
from paretune.search.strategies.full_trials import FullTrials

BETTER = [noop(x=i, ms=20.0 - i, quality=0.8) for i in range(4)]
ALIKE = [noop(x=i, ms=17.0, quality=0.8) for i in range(4, 12)]


def run(folder: Path, candidates: list[Any], rule: StopRule | None, **settings: Any) -> Engine:
    """Search candidates of which each takes a minute."""
    now = [0.0]

    class Minutes(FakeTarget):
        def _value(self, job: Any, params: dict[str, Any]) -> Any:
            now[0] += 60.0 * measures(job, "generation") / 2  # rough and full
            return super()._value(job, params)

    stopped, strategy = settings.pop("stopped", None), settings.pop("strategy", None)
    engine = make_engine(folder, candidates, clock=lambda: now[0], **settings)
    engine.stopping = Stopping(rule, engine.objectives, engine.baseline, stopped)
    engine.target, engine.strategy = Minutes(), strategy or engine.strategy
    engine.run()
    return engine


def test_it_ends_once_the_last_trials_gained_too_little(tmp_path: Path) -> None:
    engine = run(tmp_path, BETTER + ALIKE, StopRule(0.01, after=3))
    # The fourth is the last one that gains; after three more the last three have gained nothing.
    assert len(engine.recorder.outcomes) == 7
    assert engine.ended_by() == "stop"
    assert engine.stopping.reason is not None
    assert engine.stopping.reason.startswith("the last 3 trials gained 0.00% of the hypervolume")
    whole = run(tmp_path, BETTER + ALIKE, None)
    assert (len(whole.recorder.outcomes), whole.ended_by()) == (12, "trials")


def test_it_never_ends_before_the_baseline_and_so_many_trials(tmp_path: Path) -> None:
    engine = run(tmp_path, ALIKE, StopRule(0.9, after=5))
    assert len(engine.recorder.outcomes) == 6


def test_as_long_as_nothing_is_feasible_it_goes_on(tmp_path: Path) -> None:
    none = ("accuracy >= 0.9",)
    engine = run(tmp_path, BETTER + ALIKE, StopRule(0.9, after=2), constraints=none)
    assert engine.stopping.reason is None
    assert len(engine.recorder.outcomes) == 12


@pytest.mark.parametrize(("expected", "count"), [(0.001, 4), (0.5, 12), (None, 7)])
def test_a_strategy_that_says_what_it_expects_decides(
    tmp_path: Path, expected: float | None, count: int
) -> None:
    class Knows(FullTrials):
        def expected_gain(self, view: Any) -> float | None:
            assert view.paused == []
            return expected

    candidates = BETTER + ALIKE
    engine = make_engine(tmp_path, candidates)
    given = Exhaustive(space=engine.space, objectives=engine.objectives, seed=0, first=candidates)
    engine = run(tmp_path, candidates, StopRule(0.01, after=3), strategy=Knows(given))
    assert len(engine.recorder.outcomes) == count


def test_what_it_has_ended_it_ends_again_until_the_rule_is_another(tmp_path: Path) -> None:
    rule = StopRule(0.01, after=3)
    first = run(tmp_path, BETTER + ALIKE, rule)
    found = {"by": "stop", "stop": rule.to_json(), "outcomes": len(first.recorder.outcomes)}
    assert stopped_at(found, rule) == 7
    told = first.recorder.outcomes
    again = run(tmp_path, BETTER + ALIKE, rule, told=told, stopped=7)
    assert len(again.recorder.outcomes) == 7
    assert again.stopping.reason is not None
    assert "had ended by" in again.stopping.reason
    for other in (None, StopRule(0.001, after=3)):
        assert stopped_at(found, other) is None
    assert stopped_at({**found, "by": "time"}, rule) is None
    assert stopped_at(None, rule) is None
    on = run(tmp_path, BETTER + ALIKE, None, told=told)
    assert len(on.recorder.outcomes) == 12
