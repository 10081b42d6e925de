import math
import random

import numpy as np
import pytest

from paretune.core.measurement import Measurement
from paretune.evaluators.classes import class_measurements as classified
from paretune.evaluators.examples import resampled
from paretune.evaluators.text.perplexity import _measurement as perplexed
from paretune.search.confirm.joint import against, error_of
from paretune.stats.by_example import scores


def test_a_share_is_the_mean_of_its_samples() -> None:
    found = scores(
        Measurement(
            "a", 0.75, "fraction", n=4, samples=(1.0, 1.0, 0.0, 1.0), details={"rows": [0, 2, 3, 9]}
        )
    )
    assert found is not None
    assert found.rows == (0, 2, 3, 9)
    assert found.binary
    assert found.values.tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "m",
    [
        None,
        Measurement("a", None, "fraction", samples=(1.0, 0.0)),
        Measurement("a", 0.5, "fraction"),
        Measurement("a", math.nan, "fraction", samples=(1.0, 0.0)),
        Measurement("ms", 7.0, "ms", samples=(7.0, 9.0, 30.0)),  # a median of times
        Measurement("ms", 8.0, "ms", samples=(7.0, 9.0), details={"processes": [{}, {}]}),
        Measurement("a", 0.5, "fraction", samples=(1.0, 0.0), details={"rows": [1]}),
    ],
)
def test_what_is_no_mean_over_examples(m: Measurement | None) -> None:
    assert scores(m) is None


def test_a_perplexitys_scores_have_it_as_their_mean_and_its_error() -> None:
    rng = random.Random(0)
    counts = [rng.randrange(5, 60) for _ in range(60)]
    sums = [c * rng.gauss(2.0, 0.3) for c in counts]
    m = perplexed(sums, counts).noting(windows_seen=tuple(range(60)), tokens_scored=tuple(counts))
    found = scores(m)
    assert found is not None
    assert found.values.mean() == pytest.approx(m.value)
    drawn = np.random.default_rng(0).integers(0, 60, (4000, 60))
    again = np.exp(np.asarray(sums)[drawn].sum(1) / np.asarray(counts)[drawn].sum(1))
    assert found.values.std() / math.sqrt(60) == pytest.approx(again.std(), rel=0.1)


def test_a_macro_f1s_scores_have_it_as_their_mean_and_its_error() -> None:
    rng = random.Random(1)
    n = 400
    truth = [rng.choice([0, 0, 0, 1, 2]) for _ in range(n)]
    predicted = [t if rng.random() < 0.7 else rng.randrange(3) for t in truth]
    rows = rng.sample(range(1000), n)
    _, f1 = classified(("a", "b", "c"), rows, truth, predicted, 0)
    found = scores(f1)
    assert found is not None
    assert found.rows == tuple(sorted(rows))
    assert found.values.mean() == pytest.approx(f1.value)
    drawn = np.random.default_rng(0).integers(0, n, (1500, n))
    t, p = np.asarray(truth)[drawn], np.asarray(predicted)[drawn]
    each = [
        2 * ((t == c) & (p == c)).sum(1) / ((t == c).sum(1) + (p == c).sum(1)) for c in range(3)
    ]
    assert found.values.std() / math.sqrt(n) == pytest.approx(np.mean(each, 0).std(), rel=0.1)


def test_what_evaluators_resample_has_scores_with_its_value_and_its_error() -> None:
    rng = np.random.default_rng(3)
    mistakes, lengths = rng.poisson(2.0, 80), rng.integers(4, 30, 80)

    def rate(drawn: np.ndarray) -> float:
        return float(mistakes[drawn].sum() / lengths[drawn].sum())

    m = resampled("cer", "", rate, list(range(100, 180)))
    found = scores(Measurement.from_json(m.to_json()))
    assert found is not None
    assert found.rows == tuple(range(100, 180))
    assert found.values.mean() == pytest.approx(m.value)
    again = [rate(rng.integers(0, 80, 80)) for _ in range(3000)]
    assert found.values.std() / math.sqrt(80) == pytest.approx(np.std(again), rel=0.1)


def test_two_models_that_make_the_same_mistakes_are_paired() -> None:
    """Both misread the same long texts: their difference is far surer than either rate."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(4, 30, 60)
    hard = rng.binomial(lengths, rng.choice([0.0, 0.6], 60))
    also = hard + (rng.random(60) < 0.1)
    made = [
        scores(resampled("cer", "", lambda d, e=each: e[d].sum() / lengths[d].sum(), range(60)))
        for each in (hard, also)
    ]
    one, two = made
    assert one is not None
    assert two is not None
    exceeds, error = against(two, one, ("+", 0.0))
    assert exceeds == pytest.approx((also.sum() - hard.sum()) / lengths.sum())
    assert error < 0.3 * error_of(one)


def test_a_statistic_without_a_value_for_some_examples_has_no_scores() -> None:
    m = resampled("r", "", lambda d: 1.0 if 0 in d else math.nan, [5, 6, 7, 8])
    assert m.details.scores is None
    assert scores(m) is None
