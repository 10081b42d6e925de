"""Parents in whole searches of fakes: measured once, hopeless ones stopped before their builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import (
    OBJECTIVES,
    SLOTS,
    FakeTarget,
    FakeWorkbench,
    artifact_of,
    make_engine,
    measures,
    recipe_of,
)

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.job import Build, BuildResult, Job, JobResult, JobStatus
from paretune.core.measurement import Measurement
from paretune.core.model import Model, ModelKind
from paretune.core.parent import BuildCost, Parent
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.constraints import parse_constraint
from paretune.search.engine import Engine
from paretune.search.jobs import EvaluatorSlot
from paretune.search.reconsider import to_reconsider
from paretune.search.run import Shortcuts
from paretune.search.summary import summarize, violations

NEEDED = "accuracy >= 0.8"


def recipe(train: str, good: float, **build: Any) -> Candidate:
    """Return a training of some quality, and a build of it."""
    trained = Step("train", {"name": train, "quality": good})
    return Candidate((trained, Step("quantize", {"quality": good, **build})), RuntimeSettings())


BASE = Candidate((Step("noop", {"quality": 0.9, "ms": 50.0}),), RuntimeSettings())


class Workbench(FakeWorkbench):
    """Every recipe of two steps has a parent."""

    def __init__(self, stored: dict[tuple[Step, ...], str]) -> None:
        super().__init__()
        self._stored = stored

    def build(self, candidate: Candidate) -> Job:
        job = super().build(candidate)
        assert self.candidate is not None
        return job

    def parent(self, candidate: Candidate, threads: int) -> Candidate | None:
        if len(candidate.recipe) < 2:
            return None
        return Candidate(candidate.recipe[:-1], RuntimeSettings("cpu", threads))

    def stored(self, candidate: Candidate) -> str | None:
        return self._stored.get(candidate.recipe)

    def fits(self, slot: EvaluatorSlot, parent: Candidate) -> bool:
        return slot.name == "classification"


class Target(FakeTarget):
    """Remembers what is built; a step that was built before is not built again."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[tuple[Step, ...], str] = {}
        self.parents: list[str] = []
        self.builds: list[tuple[Step, ...]] = []
        self.fails = False

    def _value(self, job: Job, params: dict[str, Any]) -> Any:
        steps, found = recipe_of(job), super()._value(job, params)
        if isinstance(job.task, Build):
            self.builds.append(steps)
            costs = []
            for count, step in enumerate(steps, start=1):
                costs.append(StepTime(step.name, 10.0, steps[:count] in self.stored))
                self.stored[steps[:count]] = artifact_of(step.params)
            model = Model(ModelKind.HF, Path("x"), artifact_of(params))
            return BuildResult(model, tuple(costs))
        if measures(job, "classification") and steps[-1].name == "train":
            self.parents.append(steps[-1].params["name"])
        return found

    def _answer(self, job: Job) -> JobResult | None:
        if self.fails and measures(job, "classification") and recipe_of(job)[-1].name == "train":
            return JobResult(JobStatus.FAILED, reason="as asked for")
        return super()._answer(job)


class Kept:
    """What is measured of parents, in memory."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Mapping[str, Measurement]] = {}

    def get(self, artifact: str, slot: EvaluatorSlot) -> Mapping[str, Measurement] | None:
        return self.known.get((artifact, slot.name))

    def put(self, artifact: str, slot: EvaluatorSlot, measured: Mapping[str, Measurement]) -> None:
        self.known[artifact, slot.name] = measured


def search(
    folder: Path,
    candidates: list[Candidate],
    constraints: tuple[str, ...] = (NEEDED,),
    kept: Kept | None = None,
    **settings: Any,
) -> tuple[Engine, Target]:
    """Run a search over candidates, the baseline before them."""
    settings.setdefault("trials", 100)
    engine = make_engine(folder, [BASE, *candidates], constraints, **settings)
    target = Target()
    engine.target = target
    engine.job_factory = Workbench(target.stored)
    engine.recorder.parents = kept or Kept()  # type: ignore[attr-defined]
    engine.run()
    return engine, target


def ends(engine: Engine) -> list[TrialResult]:
    """Return the outcomes of the candidates that were given, the baseline's first."""
    return [o for o in engine.recorder.outcomes if "never" not in o.candidate.recipe[0].params]


def test_a_hopeless_training_is_not_built(tmp_path: Path) -> None:
    bad = [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8, 7)]
    good = [recipe("good", 0.95, ms=float(ms)) for ms in (9, 8)]
    engine, target = search(tmp_path, [*bad, *good])
    kinds = [o.kind for o in ends(engine)]
    assert kinds == [OutcomeKind.OK] + 3 * [OutcomeKind.INFEASIBLE] + 2 * [OutcomeKind.OK]
    assert [len(steps) for steps in target.builds if steps[0].params.get("name") == "bad"] == [1]
    assert target.parents.count("bad") == 1
    first, second = ends(engine)[1:3]
    assert first.constraint == NEEDED
    assert first.reason is not None
    for told in ("accuracy", "is 0.3", "0.2 to 0.4", "at most 0.1", "at most 0.5", NEEDED):
        assert told in first.reason
    assert [s.step for s in first.seconds] == ["train", "parent"]
    assert first.ran_job
    assert not second.ran_job, "what is known stops it before any job"
    assert second.parent is not None
    assert first.parent is not None
    assert second.parent.metrics == first.parent.metrics
    assert sum(o.ran_job for o in ends(engine)) == 1 + 1 + 2


def test_a_good_parent_is_shown_with_what_its_build_costs(tmp_path: Path) -> None:
    builds = [recipe("good", 0.95, ms=9.0), recipe("good", 0.95, ms=8.0)]
    builds += [recipe("good", 0.95, quality=0.93, ms=7.0)]
    # Between 0.85 and 1 roughly, which with a gain of 0.1 may be too little: all is measured.
    engine, target = search(tmp_path, builds, ("accuracy >= 0.97",))
    found = ends(engine)[1:]
    assert [o.kind for o in found] == 3 * [OutcomeKind.OK]
    assert target.parents == ["good", "good"], "roughly and whole, for all three"
    assert [s.step for s in found[0].seconds][:3] == ["train", "quantize", "parent"]
    assert [s.cached for s in found[0].seconds[:3]] == [False, False, False]
    assert not any(s.step == "parent" for o in found[1:] for s in o.seconds)
    costs = [o.parent.costs["accuracy"] for o in found if o.parent is not None]
    assert [round(cost.value, 3) for cost in costs] == [0.0, 0.0, -0.02]


@pytest.mark.parametrize(
    ("constraints", "shortcuts"),
    [
        ((NEEDED,), Shortcuts(parents=False)),
        ((NEEDED,), Shortcuts(early_stops=False)),
        ((), Shortcuts()),
        (("decode_ms_p50 <= 100",), Shortcuts()),
    ],
)
def test_it_is_not_measured_where_it_cannot_help(
    tmp_path: Path, constraints: tuple[str, ...], shortcuts: Shortcuts
) -> None:
    some = [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8, 7)]
    engine, target = search(tmp_path, some, constraints, shortcuts=shortcuts)
    assert target.parents == []
    assert all(o.parent is None for o in engine.recorder.outcomes)
    assert all(len(steps) != 1 or steps[0].name == "noop" for steps in target.builds)


def test_a_parent_that_cannot_be_measured_is_built_from(tmp_path: Path) -> None:
    class Failing(Target):
        def __init__(self) -> None:
            super().__init__()
            self.fails = True

    some = [recipe("good", 0.95, ms=float(ms)) for ms in (9, 8)]
    engine = make_engine(tmp_path, [BASE, *some], (NEEDED,), trials=100)
    target = Failing()
    engine.target, engine.job_factory = target, Workbench(target.stored)
    engine.recorder.parents = Kept()  # type: ignore[attr-defined]
    engine.run()
    assert [o.kind for o in ends(engine)] == 3 * [OutcomeKind.OK]
    tried = [s.step for o in engine.recorder.outcomes for s in o.seconds if "failed" in s.step]
    assert tried == ["measure:failed"], "once"


@pytest.mark.parametrize("builds", [1, 2, 4])
def test_each_parent_is_paid_once_with_several_builds(tmp_path: Path, builds: int) -> None:
    some = [
        recipe(f"t{n}", quality, ms=float(ms))
        for n, quality in enumerate((0.3, 0.95, 0.2, 0.9))
        for ms in (9, 8, 7)
    ]
    engine, target = search(tmp_path, some, builds=builds)
    assert sorted(target.parents) == ["t0", "t1", "t2", "t3"]
    by_name: dict[str, set[str]] = {}
    for o in ends(engine)[1:]:
        by_name.setdefault(o.candidate.recipe[0].params["name"], set()).add(o.kind.value)
    assert by_name == {
        "t0": {"infeasible"},
        "t1": {"ok"},
        "t2": {"infeasible"},
        "t3": {"ok"},
    }
    bad = [steps for steps in target.builds if steps[0].params.get("name") in ("t0", "t2")]
    assert {len(steps) for steps in bad} == {1}, "also beside the baseline"
    paid = [s for o in engine.recorder.outcomes for s in o.seconds if s.step == "parent"]
    assert len(paid) == 4


def test_a_search_that_continues_does_not_pay_again(tmp_path: Path) -> None:
    kept, some = Kept(), [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8, 7)]
    first, target = search(tmp_path, some[:1], kept=kept)
    engine = make_engine(
        tmp_path, [BASE, *some], (NEEDED,), trials=100, told=list(first.recorder.outcomes)
    )
    again = Target()
    again.stored = target.stored
    engine.target, engine.job_factory = again, Workbench(again.stored)
    engine.recorder.parents = kept  # type: ignore[attr-defined]
    engine.run()
    assert again.parents == []
    assert [o.kind for o in ends(engine)[1:]] == 3 * [OutcomeKind.INFEASIBLE]


def test_with_one_objective_a_rival_dominates_what_a_parent_allows(tmp_path: Path) -> None:
    some = [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8, 7)]
    engine, _ = search(tmp_path, some, ())
    assert {o.kind for o in ends(engine)} == {OutcomeKind.OK}
    alone = make_engine(tmp_path, [BASE, *some], (), trials=100)
    target = Target()
    alone.objectives = OBJECTIVES[:1]
    alone.target, alone.job_factory = target, Workbench(target.stored)
    alone.recorder.parents = Kept()  # type: ignore[attr-defined]
    alone.run()
    assert [o.kind for o in ends(alone)[1:]] == 3 * [OutcomeKind.PRUNED]
    assert "dominated by candidate 1" in (alone.recorder.outcomes[1].reason or "")


def test_a_stop_by_a_parent_is_reconsidered_with_the_limit(tmp_path: Path) -> None:
    engine, _ = search(tmp_path, [recipe("bad", 0.72, ms=9.0), recipe("good", 0.95, ms=8.0)])
    stopped = [o for o in engine.recorder.outcomes if o.stopped_by_parent]
    assert stopped == [], "0.72 and a gain of 0.1 are enough"
    engine, _ = search(tmp_path, [recipe("bad", 0.55, ms=9.0), recipe("good", 0.95, ms=8.0)])
    stopped = [o for o in engine.recorder.outcomes if o.stopped_by_parent]
    assert len(stopped) == 1
    stopped = [TrialResult.from_json(o.to_json()) for o in stopped]

    def again(*constraints: str, told: Sequence[TrialResult] = ()) -> list[TrialResult]:
        outcomes = [*ends(engine)[:1], *stopped, *told]
        limits = tuple(map(parse_constraint, constraints))
        summary = summarize(outcomes, OBJECTIVES, limits, outcomes[0])
        specs = [spec for slot in SLOTS for spec in slot.metrics]
        return to_reconsider(outcomes, summary, OBJECTIVES, specs)

    (limit,) = engine.summary().limits
    assert violations(stopped[0], (limit,)) == (pytest.approx(0.25 / 0.8),), "what samplers learn"
    assert again(NEEDED) == []
    assert again("accuracy >= 0.7") == stopped
    assert again() == stopped
    cost = BuildCost(0.4, None, None, 100, 0.4)
    gained = replace(
        ends(engine)[2], id=9, parent=Parent("sha256:p", 1, {}, costs={"accuracy": cost})
    )
    assert again(NEEDED, told=[gained]) == stopped, "a larger gain was seen since"


def test_of_a_space_without_an_end_some_stops_are_recorded(tmp_path: Path) -> None:
    """With `trials`, those that ran no job are listed in proportion to them; others are counted."""
    some = [recipe("bad", 0.3, ms=float(ms)) for ms in range(1, 200)]
    engine, target = search(tmp_path, some, trials=3)
    stopped = [o for o in ends(engine) if o.stopped_by_parent]
    assert 50 <= len(stopped) <= 52
    assert target.parents == ["bad"]
    told = " ".join(engine.time_budget.left_out())
    assert "more candidates were ruled out before any job" in told
    assert "accuracy of the trained model" in told


def test_a_parent_that_was_a_candidate_is_not_measured_again(tmp_path: Path) -> None:
    some = [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8)]
    itself = Candidate(some[0].recipe[:1], RuntimeSettings())
    whole = Shortcuts(duplicates=False)
    engine, target = search(tmp_path, [itself, *some], ("accuracy >= 0.31",), shortcuts=whole)
    assert [o.parent is not None for o in ends(engine)[2:]] == [True, True]
    assert not any(s.step == "parent" for o in ends(engine) for s in o.seconds)
    assert target.parents == ["bad", "bad"], "as a candidate, roughly and whole"


def test_where_another_machine_measures_it_is_not_measured(tmp_path: Path) -> None:
    class Apart(Target):
        builds_apart = True

    some = [recipe("bad", 0.3, ms=float(ms)) for ms in (9, 8, 7)]
    engine = make_engine(tmp_path, [BASE, *some], (NEEDED,), trials=4)
    target = Apart()
    engine.target, engine.job_factory = target, Workbench(target.stored)
    engine.recorder.parents = Kept()  # type: ignore[attr-defined]
    engine.run()
    assert target.parents == []
    assert {o.kind for o in ends(engine)[1:]} == {OutcomeKind.INFEASIBLE}
    assert all(o.parent is None for o in engine.recorder.outcomes)
