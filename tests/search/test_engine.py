from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_search import FakeTarget, make_engine, noop

from paretune.core.errors import NothingFeasibleError, StateError
from paretune.core.measurement import Rung
from paretune.core.result import OutcomeKind
from paretune.search.constraints import Objective
from paretune.search.prechecks import Foresight
from paretune.search.run import Shortcuts


def jobs(engine: object) -> list[str]:
    target = engine.target  # type: ignore[attr-defined]
    assert isinstance(target, FakeTarget)
    return target.jobs


def test_an_ok_candidate_goes_all_the_way_cheap_things_first(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1)])
    summary = engine.run()
    (outcome,) = engine.recorder.outcomes
    assert outcome.kind is OutcomeKind.OK
    assert (outcome.rung, outcome.id, summary.best) == (Rung.FULL, 1, 1)
    assert jobs(engine) == [
        "build",
        "smoke",
        "generation:rough",
        "classification:rough",
        "generation:full",
        "classification:full",
    ]


@pytest.mark.parametrize("at", ["build", "smoke", "measure"])
@pytest.mark.parametrize("status", ["failed", "crashed", "timeout", "out_of_memory", "invalid"])
def test_whatever_a_job_does_is_an_outcome_and_the_search_goes_on(
    tmp_path: Path, status: str, at: str
) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(status=status, at=at), noop(x=2)])
    engine.run()
    first, second, third = engine.recorder.outcomes
    assert (second.kind.value, second.reason) == (status, "as asked for")
    assert first.kind is third.kind is OutcomeKind.OK


def test_a_skipped_candidate_runs_no_job_and_is_no_trial(tmp_path: Path) -> None:
    bad = noop(x=99)
    engine = make_engine(
        tmp_path,
        [noop(x=1), bad, noop(x=2)],
        look=lambda c: Foresight("does not fit" if c == bad else None),
        trials=2,
    )
    engine.run()
    kinds = [outcome.kind for outcome in engine.recorder.outcomes]
    assert kinds == [OutcomeKind.OK, OutcomeKind.SKIPPED, OutcomeKind.OK]
    assert not engine.recorder.outcomes[1].ran_job


def test_trials_are_a_total_with_the_baseline_and_what_was_there_before(tmp_path: Path) -> None:
    candidates = [noop(x=x) for x in range(5)]
    before = make_engine(tmp_path, candidates, trials=2)
    before.run()
    after = make_engine(tmp_path, candidates, trials=3, told=before.recorder.outcomes)
    after.run()
    assert [o.id for o in after.recorder.outcomes] == [1, 2, 3]
    assert len({o.candidate for o in after.recorder.outcomes}) == 3


def test_a_surely_broken_constraint_stops_early_and_is_named(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(quality=0.5)], ("accuracy >= baseline - 0.02",))
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert (outcome.kind, outcome.rung) == (OutcomeKind.INFEASIBLE, Rung.ROUGH)
    assert outcome.constraint == "accuracy >= baseline - 0.02"
    assert "0.5" in str(outcome.reason)
    assert jobs(engine)[-1] == "classification:rough"


def test_a_constraint_that_may_still_hold_does_not_stop(tmp_path: Path) -> None:
    # 0.85 +- 0.1 may be above 0.88 after the rough look; the full look decides, and that is ok.
    engine = make_engine(tmp_path, [noop(x=1), noop(quality=0.85)], ("accuracy >= 0.88",))
    summary = engine.run()
    assert engine.recorder.outcomes[1].kind is OutcomeKind.OK
    assert summary.feasible == {1}


def test_a_surely_beaten_candidate_is_pruned(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(quality=0.5, ms=50.0)])
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert outcome.kind is OutcomeKind.PRUNED
    assert "candidate 1" in str(outcome.reason)


def test_an_infeasible_winner_prunes_nobody(tmp_path: Path) -> None:
    candidates = [noop(x=1, quality=0.95, ms=1000.0), noop(quality=0.5, ms=2000.0)]
    engine = make_engine(tmp_path, candidates, ("decode_ms_p50 <= 1",))
    engine.run()
    assert engine.recorder.outcomes[1].kind is OutcomeKind.INFEASIBLE  # not pruned by candidate 1


def test_the_baseline_is_measured_whole_even_if_it_breaks_a_constraint(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(quality=0.1)], ("accuracy >= 0.9",))
    summary = engine.run()
    assert engine.recorder.outcomes[0].kind is OutcomeKind.OK
    assert summary.best is None
    assert summary.nearest_miss is not None
    assert summary.nearest_miss["id"] == 1


def test_without_early_stops_only_full_rungs_are_measured(tmp_path: Path) -> None:
    engine = make_engine(
        tmp_path,
        [noop(x=1), noop(quality=0.1)],
        ("accuracy >= 0.9",),
        shortcuts=Shortcuts(early_stops=False),
    )
    engine.run()
    assert not any("rough" in name for name in jobs(engine))
    assert engine.recorder.outcomes[1].kind is OutcomeKind.OK


def test_the_same_artifact_and_settings_is_a_duplicate(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1, same=1), noop(x=2, same=1)])
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert (outcome.kind, outcome.duplicate_of) == (OutcomeKind.DUPLICATE, 1)
    assert jobs(engine)[-1] == "build"


def test_under_other_settings_accuracy_is_reused_and_speed_measured(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1, same=1, threads=1), noop(x=1, same=1, threads=2)])
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert outcome.kind is OutcomeKind.OK
    assert outcome.value("decode_ms_p50") == 5.0
    second = jobs(engine)[6:]
    assert second == ["build", "smoke", "generation:rough", "generation:full"]
    assert [s.step for s in outcome.seconds if s.cached] == [
        "classification:rough",
        "classification:full",
    ]


def test_without_the_duplicate_check_everything_is_measured(tmp_path: Path) -> None:
    engine = make_engine(
        tmp_path, [noop(x=1, same=1), noop(x=2, same=1)], shortcuts=Shortcuts(duplicates=False)
    )
    engine.run()
    assert [o.kind for o in engine.recorder.outcomes] == [OutcomeKind.OK, OutcomeKind.OK]
    assert jobs(engine).count("classification:full") == 2


def test_what_is_in_flight_at_the_deadline_is_stopped_and_unrecorded(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(status="hang")], time_s=0.3)
    engine.run()
    assert len(engine.recorder.outcomes) == 1
    assert engine.out_of_time
    assert engine.target.cancelled  # type: ignore[attr-defined]


def test_an_interrupt_cancels_and_records_nothing(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1), noop(status="interrupt", at="measure")])
    with pytest.raises(KeyboardInterrupt):
        engine.run()
    assert len(engine.recorder.outcomes) == 1
    assert engine.target.cancelled  # type: ignore[attr-defined]


def test_a_failed_baseline_ends_a_search_that_is_relative_to_it(tmp_path: Path) -> None:
    engine = make_engine(
        tmp_path, [noop(status="failed"), noop(x=1)], ("accuracy >= baseline - 0.02",)
    )
    with pytest.raises(NothingFeasibleError, match=r"the baseline has no accuracy.*as asked for"):
        engine.run()


def test_a_failed_baseline_does_not_matter_to_absolute_constraints(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(status="failed"), noop(x=1)], ("accuracy >= 0.5",))
    assert engine.run().best == 2


# --- trying again ----------------------------------------------------------------------------


def test_a_transient_failure_is_tried_again_and_the_cause_is_told(tmp_path: Path) -> None:
    heard: list[str] = []
    engine = make_engine(
        tmp_path,
        [noop(x=0), noop(x=1, status="crashed", transient=True, times=4)],
        retry_waits_s=(0.0, 0.0),
    )
    engine.watcher.note = heard.append  # type: ignore[method-assign]
    engine.run()
    # Fake builds are counted over all candidates: the first three are the baseline's and two bad.
    assert [o.kind.value for o in engine.recorder.outcomes] == ["ok", "crashed"]
    assert engine.target.jobs.count("build") == 4  # type: ignore[attr-defined]
    outcome = engine.recorder.outcomes[1]
    assert outcome.transient
    assert outcome.reason == "as asked for (tried 3 times; once more when the search goes on)"
    assert [step.step for step in outcome.seconds] == ["build:crashed"] * 3
    assert heard == [
        "candidate 2: build crashed: as asked for; tried again in 0 s (1 of 2)",
        "candidate 2: build crashed: as asked for; tried again in 0 s (2 of 2)",
    ]


def test_a_transient_failure_that_passes_leaves_an_ok_candidate(tmp_path: Path) -> None:
    engine = make_engine(
        tmp_path,
        [noop(x=0), noop(x=1, status="out_of_memory", transient=True, times=2)],
        retry_waits_s=(0.0, 0.0),
    )
    engine.run()
    outcome = engine.recorder.outcomes[1]
    assert (outcome.kind.value, outcome.transient, outcome.reason) == ("ok", False, None)
    assert [s.step for s in outcome.seconds][:2] == ["build:out_of_memory", "noop"]


def test_a_failure_of_its_own_is_not_tried_again(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=0), noop(x=1, status="crashed")])
    engine.run()
    assert engine.target.jobs.count("build") == 2  # type: ignore[attr-defined]
    assert not engine.recorder.outcomes[1].transient


def test_no_waiting_beyond_the_deadline(tmp_path: Path) -> None:
    engine = make_engine(
        tmp_path,
        [noop(x=0), noop(x=1, status="crashed", transient=True)],
        retry_waits_s=(600.0,),
        time_s=60.0,
    )
    engine.run()
    assert [o.kind.value for o in engine.recorder.outcomes] == ["ok"]  # the other is unrecorded


def test_a_damaged_artifact_is_built_again_and_a_failing_disk_ends_the_search(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path, [noop(x=0)])
    answers = iter([False, True])
    engine.job_factory.is_intact = lambda built, *, fresh: next(answers)  # type: ignore[method-assign]
    engine.run()
    assert engine.recorder.outcomes[0].kind.value == "ok"
    assert engine.target.jobs.count("build") == 2  # type: ignore[attr-defined]
    engine = make_engine(tmp_path, [noop(x=0)])
    engine.job_factory.is_intact = lambda built, *, fresh: False  # type: ignore[method-assign]
    with pytest.raises(StateError, match="damaged 3 times"):
        engine.run()


# --- others on the machine -------------------------------------------------------------------


@pytest.mark.parametrize(("stays", "jobs_of_the_second"), [(True, 2), (False, 4)])
def test_on_a_busy_machine_nothing_is_measured_twice_for_long(
    tmp_path: Path, stays: bool, jobs_of_the_second: int
) -> None:
    """Each measurement that is hit is made once more, until that was of no use."""

    @contextmanager
    def beside_others() -> Iterator[Any]:
        looks.append(1)
        hit = stays or len(looks) % 2 == 1  # the second try is undisturbed
        yield SimpleNamespace(seen=SimpleNamespace(was_hit=lambda t, c: hit, noted=lambda m: m))

    looks: list[int] = []
    engine = make_engine(tmp_path, [noop(x=1), noop(x=2)], watching=beside_others)
    engine.run()
    timed = [name for name in jobs(engine) if name.startswith("generation")]
    first = 3 if stays else 4  # of two looks
    assert len(timed) == first + jobs_of_the_second
    assert engine.others_stay is stays


def test_what_a_build_is_to_its_source_is_a_metric_without_any_evaluator(tmp_path: Path) -> None:
    candidates = [noop(x=1, kl=0.0), noop(kl=0.4), noop(kl=0.1), noop(kl=None)]
    engine = make_engine(tmp_path, candidates, ("kl_per_token <= 0.3",))
    summary = engine.run()
    first, far, near, unknown = engine.recorder.outcomes
    assert far.kind is OutcomeKind.INFEASIBLE
    assert (far.rung, far.constraint) == (Rung.SMOKE, "kl_per_token <= 0.3")
    assert far.reason == "kl_per_token is 0.4 nats; needs kl_per_token <= 0.3"
    assert near.value("kl_per_token") == 0.1
    assert near.value("top1_agreement") == 0.75
    assert unknown.kind is OutcomeKind.OK
    assert unknown.value("kl_per_token") is None
    assert (unknown.measurements or {})["kl_per_token"].reason == "nobody says"
    assert summary.feasible == {first.id, near.id}


def test_it_can_be_an_objective(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, [noop(x=1, kl=0.5), noop(x=2, kl=0.1)])
    engine.objectives = (Objective("kl_per_token", "minimize"),)
    assert engine.run().best == 2
