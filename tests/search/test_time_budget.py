"""What is begun with the time that is left, what is kept for the finals, what is tried again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import (
    IN_TURNS,
    SLOTS,
    FakeTarget,
    FakeWorkbench,
    NoisyTarget,
    make_engine,
    measures,
    noop,
)

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import NothingFitsError
from paretune.core.estimate import Estimate
from paretune.core.measurement import Measurement, MetricSpec
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.confirm import topk as finals
from paretune.search.engine import Engine
from paretune.search.prechecks import Foresight
from paretune.search.time_budget import TimeBudget
from paretune.stats.pooling import last_round


def _foresee(candidate: Candidate) -> Foresight:
    """Each step's estimate is what its parameter ``needs`` says."""
    return Foresight(
        None,
        tuple(
            Estimate(seconds=float(str(step.params.get("needs", 0)))) for step in candidate.recipe
        ),
    )


class Prefixes(FakeWorkbench):
    """Knows which candidates are built already: those with ``built``."""

    def built_steps(self, candidate: Candidate) -> int:
        return int(str(candidate.recipe[-1].params.get("built", 0)))


def _engine(folder: Path, candidates: list[Candidate], **settings: Any) -> Engine:
    engine = make_engine(folder, candidates, look=_foresee, **settings)
    engine.job_factory = Prefixes()
    return engine


def _tried(engine: Engine) -> list[Candidate]:
    return [outcome.candidate for outcome in engine.recorder.outcomes]


def test_what_cannot_end_is_not_begun_and_what_is_built_already_is(tmp_path: Path) -> None:
    long, short = noop(x=1, needs=10_000), noop(x=2, needs=1)
    built = noop(x=3, needs=10_000, built=1)
    engine = _engine(tmp_path, [noop(x=0), long, short, built], time_s=600.0)
    engine.run()
    assert _tried(engine)[:3] == [noop(x=0), short, built]
    assert long not in _tried(engine)
    assert engine.out_of_time
    (line,) = engine.time_budget.left_out()
    assert line.startswith("1 candidate was not begun, as it could not end in the time left: about")
    assert "most of it for noop" in line


def test_without_a_time_everything_is_begun(tmp_path: Path) -> None:
    candidates = [noop(x=0), noop(x=1, needs=1e9)]
    engine = _engine(tmp_path, candidates)
    engine.run()
    assert _tried(engine) == candidates
    assert not engine.time_budget.left_out()


def test_what_the_study_saw_corrects_a_passs_own_estimate(tmp_path: Path) -> None:
    """Fake builds take 1 s where 20 s are estimated: the machine is twenty times faster."""
    candidates = [noop(x=0, needs=20), noop(x=1, needs=2_000)]
    engine = _engine(tmp_path, candidates, time_s=600.0)
    engine.run()
    assert _tried(engine) == candidates  # about 100 s, where 2,000 s were estimated


def test_a_slow_machine_is_learned_too(tmp_path: Path) -> None:
    class Slow(FakeTarget):
        def _value(self, job: Any, params: dict[str, Any]) -> Any:
            value = super()._value(job, params)
            if job.kind == "build":
                value = replace(value, steps=(StepTime("noop", 300.0, False),))
            return value

    candidates = [noop(x=0, needs=20), noop(x=1, needs=100)]  # 15 times slower than estimated
    engine = _engine(tmp_path, candidates, time_s=600.0)
    engine.target = Slow()
    engine.run()
    assert candidates[1] not in _tried(engine)


def test_a_baseline_that_cannot_end_is_told_before_anything_runs(tmp_path: Path) -> None:
    candidates = [noop(x=0, needs=1e6), noop(x=1)]
    engine = _engine(tmp_path, candidates, time_s=60.0, constraints=("accuracy >= baseline - 0.1",))
    with pytest.raises(NothingFitsError, match="the baseline cannot end in the time: it takes"):
        engine.run()
    assert engine.target.jobs == []  # type: ignore[attr-defined]
    engine = _engine(tmp_path, candidates, time_s=60.0)
    engine.run()
    assert noop(x=1) in _tried(engine)  # nothing is relative to it


def test_what_was_set_aside_is_begun_once_a_prefix_of_it_is_there(tmp_path: Path) -> None:
    # Nothing is known of this pass, so a third of its estimate is the least it may take.
    late = Candidate((Step("other", {"needs": 9_000}),), RuntimeSettings())
    first = noop(x=0, needs=1)
    engine = _engine(tmp_path, [first, late, noop(x=2)], time_s=600.0, trials=9)
    engine.job_factory.built_steps = (  # type: ignore[method-assign]
        lambda candidate: int(candidate == late and len(engine.recorder.outcomes) > 1)
    )
    engine.run()
    assert late in _tried(engine)
    assert _tried(engine)[:2] == [first, noop(x=2)]
    assert not engine.time_budget.left_out()


def test_measuring_that_cannot_end_is_not_begun(tmp_path: Path) -> None:
    told = TrialResult(
        1,
        noop(x=0),
        OutcomeKind.OK,
        measurements={},
        seconds=(StepTime("noop", 1.0, False), StepTime("generation:full", 900.0, False)),
    )
    engine = _engine(tmp_path, [noop(x=0), noop(x=1)], told=[told], time_s=600.0)
    engine.run()
    assert _tried(engine) == [noop(x=0)]
    assert "most of it for measuring" in engine.time_budget.left_out()[0]
    assert not engine.time_budget.can_measure(noop(x=1))
    assert engine.time_budget.can_measure(noop(x=0)), "others are measured against it"


def test_what_is_built_may_be_measured_in_half_of_the_finals_time(tmp_path: Path) -> None:
    """A training that took longer than it was forecast to is not thrown away for some seconds."""
    two = [noop(x=1, ms=10.0, quality=0.9), noop(x=2, ms=10.5, quality=0.95)]
    before = make_engine(tmp_path / "before", two)
    before.evaluators, before.target = IN_TURNS, NoisyTarget()
    before.run()
    seconds = (StepTime("noop", 1.0, False), StepTime("generation:full", 8.0, False))
    told = [replace(outcome, seconds=seconds) for outcome in before.recorder.outcomes]

    def budget(left_s: float) -> TimeBudget:
        engine = _engine(tmp_path, two, told=told, time_s=100.0, finals_s=25.0)
        engine.evaluators, engine.target = IN_TURNS, NoisyTarget()
        engine.recorder.waste(75.0 - left_s)
        found = TimeBudget(engine)
        found.keep(25.0)
        return found

    # Ten rounds of both take 16 of the 25 s that are kept.
    enough, lent, little = budget(9.0), budget(1.0), budget(-3.0)
    assert enough.can_measure(noop(x=3))
    assert lent.can_measure(noop(x=3))
    assert not little.can_measure(noop(x=3))
    left = lent.left()
    assert left is not None
    assert 7 < left <= 8, "jobs may take what was lent"
    lent.keep(25.0)
    assert lent.left() == pytest.approx(left, abs=1)


def test_the_finals_time_is_kept_from_what_runs_in_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that never ends is cut at the share of the finals, and these are held."""
    three = [
        noop(x=1, ms=10.0, quality=0.9),
        noop(x=2, ms=10.5, quality=0.95),
        noop(x=3, status="hang"),
    ]
    monkeypatch.setattr(finals, "BLOCK_S", 0.05)
    engine = make_engine(tmp_path, three, time_s=100.0, finals_s=10.0)
    engine.recorder.waste(87.0)  # 13 s are left, and 10 of them are kept
    engine.evaluators, engine.target = IN_TURNS, NoisyTarget()
    told: list[str] = []
    engine.watcher.note = told.append  # type: ignore[method-assign]
    start = time.monotonic()
    engine.run()
    assert len(engine.recorder.outcomes) == 2, told
    assert engine.recorder.spent() > 87.0, "what was cut is spent"
    assert all(last_round(o.measurements or {}) > 0 for o in engine.recorder.outcomes), told
    assert engine.out_of_time
    assert time.monotonic() - start < 120


def test_nothing_is_kept_while_there_is_nothing_to_decide(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(x=2)], time_s=600.0, finals_s=60.0)
    engine.evaluators, engine.target = IN_TURNS, NoisyTarget()
    budget = TimeBudget(engine)
    budget.keep(60.0)
    left = budget.left()
    assert left is not None
    assert left > 570
    engine.run()
    budget.keep(0.0)
    assert budget.left() is not None


def test_trials_count_what_was_dropped_and_ids_stay(tmp_path: Path) -> None:
    """Relaxing a limit gives neither trials back nor a number to another candidate."""
    candidates = [noop(x=1), noop(quality=0.5), noop(x=2), noop(x=3)]
    before = make_engine(tmp_path, candidates, ("accuracy >= 0.8",), trials=2)
    before.run()
    old = before.recorder.outcomes[1]
    assert old.kind is OutcomeKind.INFEASIBLE
    told = before.recorder.outcomes[:1]
    after = make_engine(tmp_path, candidates, trials=4, told=told, again=[old])
    after.recorder.outcomes.append(old)
    after.run()
    assert [(o.id, o.candidate) for o in after.recorder.outcomes] == [
        (1, candidates[0]),
        (2, candidates[1]),
        (3, candidates[2]),
    ]
    assert after.recorder.outcomes[1].kind is OutcomeKind.OK
    assert after.recorder.trials() == 4


def test_what_is_tried_again_stays_on_record_until_then(tmp_path: Path) -> None:
    candidates = [noop(x=1), noop(quality=0.5)]
    before = make_engine(tmp_path, candidates, ("accuracy >= 0.8",))
    before.run()
    after = make_engine(
        tmp_path,
        candidates,
        trials=2,
        told=before.recorder.outcomes,
        again=before.recorder.outcomes[1:],
    )
    after.run()
    assert after.recorder.outcomes == before.recorder.outcomes
    assert "to be tried again" in after.time_budget.left_out()[0]


def test_trials_bound_a_space_where_nothing_fits(tmp_path: Path) -> None:
    candidates = [noop(x=x) for x in range(2_000)]
    engine = make_engine(
        tmp_path, candidates, trials=3, look=lambda c: Foresight(None if c == candidates[0] else "")
    )
    engine.run()
    assert len(engine.recorder.outcomes) <= 1 + 50 + 1
    assert "ruled out before any job, and are not listed" in engine.time_budget.left_out()[0]


def test_one_that_fits_is_found_behind_many_that_do_not(tmp_path: Path) -> None:
    candidates = [noop(x=x) for x in range(500)]
    fits = {candidates[0], candidates[400]}
    engine = make_engine(
        tmp_path, candidates, trials=2, look=lambda c: Foresight(None if c in fits else "no")
    )
    engine.run()
    assert {o.candidate for o in engine.recorder.outcomes if o.ran_job} == fits


class TwoSpeeds(NoisyTarget):
    """Also yields the time to the first token, which is longer in the finals than it was."""

    def _value(self, job: Any, params: dict[str, Any]) -> Any:
        value = super()._value(job, params)
        if measures(job, "generation"):
            late = 1.3 if self.jobs.count("generation:full") > 6 and params.get("x") == 1 else 1.0
            ms = params.get("ttft", 300) * late * self.draw.lognormvariate(0, 0.02)
            value.append(
                Measurement("ttft_ms_p50", ms, "ms", ms * 0.99, ms * 1.01, 2, "fake-1", (ms, ms))
            )
        return value


def test_what_was_beaten_by_a_fallen_one_is_tried_again(tmp_path: Path) -> None:
    """In turns the winner turns out to break a limit; who was pruned for it meets all of them."""
    three = [
        noop(x=0, ttft=200, ms=20.0),
        noop(x=1, ttft=97, ms=5.0, quality=0.95),
        noop(x=2, ttft=50, ms=10.0, quality=0.5),
    ]
    engine = make_engine(tmp_path, three, ("ttft_ms_p50 <= 100",), finals_s=60.0, trials=9)
    speed = replace(
        IN_TURNS[1],
        metrics=(*IN_TURNS[1].metrics, MetricSpec("ttft_ms_p50", "ms", "minimize", True)),
    )
    engine.evaluators = (SLOTS[0], speed)
    engine.target = TwoSpeeds(noise=0.005, drift=0.0)
    kinds: list[list[str]] = []
    engine.on_update = (
        lambda summary: kinds.append(  # type: ignore[method-assign]
            [o.kind.value for o in engine.recorder.outcomes[:3]]
        )
    )
    summary = engine.run()
    assert kinds[0] == ["ok", "ok", "pruned"]
    assert [o.kind.value for o in engine.recorder.outcomes[:3]] == ["ok", "ok", "ok"]
    assert summary.feasible >= {3}
    assert 2 not in summary.feasible
    assert engine.recorder.trials() == 3 + 1 + 1, "the other try of it, and the space's own"
