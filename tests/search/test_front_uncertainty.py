from __future__ import annotations

import random

from simulated import accuracy

from paretune.core.measurement import Measurement
from paretune.search.constraints import Objective
from paretune.search.front_uncertainty import surely_better

SCORE, PPL = Objective("score", "maximize"), Objective("perplexity", "minimize")


def score(samples: list[float]) -> Measurement:
    return Measurement(
        "score",
        sum(samples) / len(samples),
        "fraction",
        0.0,
        1.0,
        len(samples),
        "custom-1",
        tuple(samples),
    )


def test_scores_with_sizes_are_compared_by_their_sizes_not_by_their_signs() -> None:
    # Better by a hair on most examples, much worse on the rest: worse on average.
    hair, large = score([0.51] * 40 + [0.0] * 10), score([0.50] * 40 + [0.9] * 10)
    assert not surely_better({"score": hair}, {"score": large}, SCORE, 0.01)
    assert surely_better({"score": large}, {"score": hair}, SCORE, 0.01)
    few = score([0.5] * 5), score([0.9] * 5)
    assert not surely_better({"score": few[1]}, {"score": few[0]}, SCORE, 0.01)


def test_alike_scores_are_told_apart_no_more_often_than_one_says() -> None:
    rng, wrong = random.Random(0), 0
    for _ in range(400):
        a, b = (score([rng.gauss(0.5, 0.1) for _ in range(12)]) for _ in range(2))
        wrong += surely_better({"score": a}, {"score": b}, SCORE, 0.01)
        wrong += surely_better({"score": b}, {"score": a}, SCORE, 0.01)
    assert wrong <= 400 * 0.05 + 3 * (400 * 0.05) ** 0.5


def test_right_and_wrong_answers_are_compared_by_mcnemar() -> None:
    acc = Objective("accuracy", "maximize")
    a = accuracy([1.0] * 60 + [0.0] * 20)
    b = accuracy([0.0] * 10 + [1.0] * 50 + [0.0] * 20)
    assert surely_better({"accuracy": a}, {"accuracy": b}, acc, 0.01)
    assert not surely_better({"accuracy": b}, {"accuracy": a}, acc, 0.01)
