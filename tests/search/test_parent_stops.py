"""The test of a parent against limits and rivals, and whether measuring it pays."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement, MetricSpec, Rung
from paretune.core.parent import BuildCost, Parent
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.constraints import Limit, Objective
from paretune.search.jobs import EvaluatorSlot
from paretune.search.parent_costs import SLOWER, builds_of, measuring_s, saving_s
from paretune.search.parent_stops import Gains, ParentTest
from paretune.search.space import AnyOf, PassSlot, Space

SPECS = {
    "accuracy": MetricSpec("accuracy", "fraction", "maximize", device=False),
    "perplexity": MetricSpec("perplexity", "", "minimize", device=False),
}
TRAIN, INT4, INT8 = Step("lora", {"r": 4}), Step("genai", {"p": "int4"}), Step("genai", {"p": 8})
CANDIDATE = Candidate((TRAIN, INT4), RuntimeSettings())
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))


def parent(metric: str, value: float, low: float, high: float) -> Parent:
    m = Measurement(metric, value, SPECS[metric].unit, n=24)
    return Parent("sha256:p", 1, {metric: m}, {metric: (low, high)})


def against(*limits: Limit, gains: Gains | None = None) -> ParentTest:
    return ParentTest(limits, OBJECTIVES, SPECS, {}, gains or Gains(()))


def pair(id: int, change: float, step: Step = INT4) -> TrialResult:
    cost = BuildCost(change, None, None, 100, change)
    seen = replace(parent("accuracy", 0.9, 0.9, 0.9), costs={"accuracy": cost})
    candidate = Candidate((TRAIN, step), RuntimeSettings())
    return TrialResult(id, candidate, OutcomeKind.OK, parent=seen)


AT_LEAST = Limit("accuracy", ">=", 0.8, "accuracy >= 0.8")
AT_MOST = Limit("perplexity", "<=", 20.0, "perplexity <= 20")


def test_a_perplexity_is_bounded_from_below() -> None:
    stop = against(AT_MOST).stop(parent("perplexity", 30.0, 25.0, math.inf), CANDIDATE)
    assert stop is not None
    assert stop.kind is OutcomeKind.INFEASIBLE
    assert stop.reason == (
        "perplexity of the trained model, before any build, is 30 (24 scored; at least 25 on all "
        "examples); a build is better by at most 11 %, which gives at least 22.62; needs "
        "perplexity <= 20"
    )
    assert against(AT_MOST).stop(parent("perplexity", 30.0, 22.0, math.inf), CANDIDATE) is None


def test_a_limit_on_the_worse_side_stops_nothing() -> None:
    odd = Limit("accuracy", "<=", 0.1, "accuracy <= 0.1")
    assert against(odd).stop(parent("accuracy", 0.9, 0.8, 1.0), CANDIDATE) is None
    assert against(odd).decided_by({"accuracy"}) == set()


def test_it_is_clear_once_its_worst_value_is_enough() -> None:
    for low, high, may in ((0.75, 0.9, False), (0.65, 0.9, True), (0.6, 0.65, True)):
        assert against(AT_LEAST).may_stop(parent("accuracy", 0.8, low, high), CANDIDATE) is may


def test_three_pairs_of_the_same_build_count_alone() -> None:
    wild = [pair(n, change, INT8) for n, change in enumerate((0.3, -0.3, 0.25), start=1)]
    calm = [pair(n, -0.01) for n in range(4, 7)]
    build = (CANDIDATE.recipe[1:], "cpu")

    def most(outcomes: list[TrialResult]) -> float:
        return Gains(outcomes).largest("accuracy", build, maximize=True)

    assert most([]) == pytest.approx(0.1)
    assert most(wild) > 0.3
    assert most(wild + calm[:2]) > 0.1
    assert most(wild + calm) < 0.06
    good = parent("accuracy", 0.72, 0.72, 0.72)
    assert against(AT_LEAST).stop(good, CANDIDATE) is None
    assert against(AT_LEAST, gains=Gains(calm)).stop(good, CANDIDATE) is not None
    assert against(AT_LEAST, gains=Gains(wild)).stop(good, CANDIDATE) is None


SLOT = EvaluatorSlot(0, "classification", {}, (SPECS["accuracy"],), (Rung.ROUGH, Rung.FULL))
LORA = PassSlot("lora", {"r": (4, 8)})
BUILDS = AnyOf((PassSlot("genai", {"p": ("int4", 8)}), PassSlot("other", {"k": (1, 2, 3)})))
MERGE = PassSlot("merge")
SPACE = Space((LORA, MERGE, BUILDS), ("cpu",), (1, 2))


def ended(id: int, *seconds: tuple[str, float], **fields: object) -> TrialResult:
    steps = tuple(StepTime(step, s, False) for step, s in seconds)
    found = TrialResult(
        id, Candidate((TRAIN, INT4)), OutcomeKind.OK, artifact=f"sha256:{id}", seconds=steps
    )
    return replace(found, **fields)  # type: ignore[arg-type]


def test_what_a_parent_costs_and_saves() -> None:
    base = ended(
        1,
        *(("lora", 60.0), ("genai", 10.0), ("smoke", 2.0), ("classification:rough", 3.0)),
        ("classification:full", 30.0),
    )
    assert builds_of((TRAIN, Step("merge")), SPACE) == 5 * 2
    assert builds_of((TRAIN, Step("merge")), Space((LORA, MERGE), ("cpu",), (1,))) == 1
    assert measuring_s(SLOT, [base], base) == SLOWER * 5.0
    seen = ended(2, ("parent", 4.0), parent=parent("accuracy", 0.9, 0.9, 0.9))
    assert measuring_s(SLOT, [base, seen], base) == 4.0
    own, other = (TRAIN, Step("merge")), Candidate((TRAIN, Step("merge"), INT8))

    def saving(trials_left: int | None = None, left_s: float | None = None) -> float:
        return saving_s(other, own, SPACE, [base], trials_left=trials_left, left_s=left_s)

    assert saving() == 0.5 * 10 * 15.0
    assert saving(trials_left=1) == 0.5 * 15.0
    assert saving(left_s=30.0) == pytest.approx(0.5 * 30.0)
