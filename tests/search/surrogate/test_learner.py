"""What results teach the models."""

from dataclasses import replace

import numpy as np

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement, Rung
from paretune.core.parent import Parent
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import PassSlot, Space
from paretune.search.surrogate.encoding import Encoding
from paretune.search.surrogate.learner import Learner
from paretune.search.trial_state import Trial
from paretune.testing.strategies import SimulatedSearch

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
SPACE = Space(
    (PassSlot("lora", {"rate": RATES}), PassSlot("genai", {"precision": ("fp32", "int8", "int4")}))
)
OBJECTIVES = (Objective("accuracy", "maximize"),)
TRAINED = dict(zip(RATES, (0.5, 0.6, 0.7, 0.95), strict=True))
LOST = {"fp32": 0.0, "int8": 0.01, "int4": 0.1}


def accuracy(value: float, n: int = 100) -> Measurement:
    return Measurement("accuracy", value, "fraction", value - 0.01, value + 0.01, n=n)


def result(id: int, candidate: Candidate, *, parent: bool, own: bool = True) -> TrialResult:
    trained = TRAINED[candidate.recipe[0].params["rate"]]
    value = trained - LOST[candidate.recipe[1].params["precision"]]
    known = Parent(f"trained to {trained}", 1, {"accuracy": accuracy(trained)})
    return TrialResult(
        id,
        candidate,
        OutcomeKind.OK if own else OutcomeKind.INFEASIBLE,
        measurements={"accuracy": accuracy(value)} if own else {},
        parent=known if parent else None,
    )


def off(*, parents: bool) -> float:
    """Return by how much the int4 build of the best training is forecast wrongly."""
    every = list(SPACE)
    of_best = [c for c in every if c.recipe[0].params["rate"] == RATES[-1]]
    results = [result(id, c, parent=parents) for id, c in enumerate(every, 1) if c not in of_best]
    results.append(result(len(every), of_best[0], parent=parents, own=False))
    learner = Learner(Encoding(SPACE), OBJECTIVES)
    learner.learn(results, view_of(SPACE))
    mean, _ = learner.forecast(of_best)["accuracy"]
    return abs(float(mean[-1]) - 0.85)


def test_a_build_is_forecast_from_its_parent_less_what_such_builds_cost() -> None:
    assert off(parents=True) < 0.05 < off(parents=False)


def view_of(space: Space) -> SimulatedSearch:
    return SimulatedSearch(strategy=None, space=space)  # type: ignore[arg-type]


def test_more_examples_are_news_and_the_same_build_with_other_settings_is_none() -> None:
    learner = Learner(Encoding(SPACE), OBJECTIVES)
    view = view_of(SPACE)
    candidates = list(SPACE)
    others = [result(id, c, parent=False) for id, c in enumerate(candidates[1:5], 2)]
    learner.learn(others, view)
    before = learner.forecast(candidates[:1])["accuracy"][1][0]
    rough = Trial(1, candidates[0], measured={Rung.ROUGH: {"accuracy": accuracy(0.5, 10)}})
    learner.learn_rung(rough)
    learner.learn_rung(rough)
    between = learner.forecast(candidates[:1])["accuracy"][1][0]
    learner.learn([*others, result(1, candidates[0], parent=False)], view)
    after = learner.forecast(candidates[:1])["accuracy"][1][0]
    assert after < between < before


def test_a_size_that_was_taken_over_counts_for_the_training_that_took_it() -> None:
    """Else a size would be known of the first training only, and be taken for its effect."""
    objectives = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))
    sizes = {"fp32": 500.0, "int8": 130.0, "int4": 80.0}

    def measured(id: int, candidate: Candidate, source: int | None) -> TrialResult:
        size = sizes[candidate.recipe[1].params["precision"]]
        m = Measurement("size_mb", size, "MB", 0.99 * size, 1.01 * size)
        taken = replace(m, details=replace(m.details, taken_from=source))
        return TrialResult(id, candidate, OutcomeKind.OK, measurements={"size_mb": taken})

    def spread(*, taken: bool) -> float:
        """Return how unsure the size of another training's build is."""
        every = list(SPACE)
        learner = Learner(Encoding(SPACE), objectives)
        first = [measured(n + 1, c, None) for n, c in enumerate(every[:3])]
        others = [measured(n + 4, c, n % 3 + 1) for n, c in enumerate(every[3:9])]
        learner.learn([*first, *(others if taken else [])], view_of(SPACE))
        return float(learner.forecast(every[9:])["size_mb"][1].max())

    assert spread(taken=True) < 0.5 * spread(taken=False)


def test_a_speed_that_was_taken_over_makes_no_other_build_certain() -> None:
    """The copies are no measurements; what the training has to do with it is seen by structures."""
    sizes = (*range(16, 144, 32), 256)
    slots = PassSlot("lora", {"rate": RATES}), PassSlot("genai", {"block_size": sizes})
    space = Space(slots)
    speed = dict(zip(sizes, (9.0, 5.0, 7.0, 4.0, 6.0), strict=True))

    def result(id: int, candidate: Candidate, source: int | None) -> TrialResult:
        value = speed[candidate.recipe[1].params["block_size"]]
        m = Measurement("size_mb", value, "MB", value * 0.95, value * 1.05)
        m = replace(m, details=replace(m.details, taken_from=source))
        structure = f"block {candidate.recipe[1].params['block_size']}"
        return TrialResult(
            id, candidate, OutcomeKind.OK, measurements={"size_mb": m}, structure=structure
        )

    def forecast(*, copies: bool) -> tuple[float, float]:
        """Return the deviation of a build that was never made, and how far trainings differ."""
        made = [c for c in space if c.recipe[1].params["block_size"] not in (sizes[1], sizes[4])]
        first = {c.recipe[1]: n for n, c in enumerate(made, 1) if c.recipe[0] == made[0].recipe[0]}
        results = [
            result(n, c, None if n == first[c.recipe[1]] else first[c.recipe[1]])
            for n, c in enumerate(made, 1)
            if copies or n == first[c.recipe[1]]
        ]
        learner = Learner(Encoding(space), (Objective("size_mb", "minimize"),))
        learner.learn(results, view_of(space))
        every = [c for c in space if c.recipe[1].params["block_size"] == sizes[1]]
        mean, deviation = learner.forecast(every)["size_mb"]
        return float(deviation[0]), float(np.ptp(mean))

    alone, _ = forecast(copies=False)
    copied, between_trainings = forecast(copies=True)
    assert copied > 0.8 * alone
    assert between_trainings < 1e-9


def test_values_that_turn_negative_are_learned_as_they_are() -> None:
    """A score whose first values are positive by chance is no time or size."""
    candidates = list(SPACE)
    scores = [3.0, 2.0, 4.0, -5.0, -80.0, -6.0, 2.5, -70.0]

    def scored(id: int) -> TrialResult:
        told = Measurement("score", scores[id - 1], "points", protocol="exact-1")
        one = candidates[id - 1]
        return TrialResult(id, one, OutcomeKind.OK, measurements={"score": told})

    results = [scored(id) for id in range(1, len(scores) + 1)]
    gradual, at_once = (
        Learner(Encoding(SPACE), (Objective("score", "minimize"),)) for _ in range(2)
    )
    view = view_of(SPACE)
    for count in range(3, len(results) + 1):
        gradual.learn(results[:count], view)
        gradual.forecast(candidates)
    at_once.learn(results, view)
    found = gradual.forecast(candidates)["score"]
    assert np.allclose(found, at_once.forecast(candidates)["score"])
    values = gradual.scales["score"].values(found[0][: len(scores)])
    assert np.allclose(values, scores, atol=3.0)
