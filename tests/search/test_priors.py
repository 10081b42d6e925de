"""What an earlier study yielded is no result, limit, early stop or pick of a search."""

from pathlib import Path

from fake_search import make_engine, noop
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.candidate import Candidate
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.engine import Engine
from paretune.search.priors import Prior, takes_priors
from paretune.search.strategies.chains import ChainSearch
from paretune.search.strategies.exhaustive import Exhaustive

CANDIDATES = [noop(quality=quality, ms=ms) for quality in (0.7, 0.9) for ms in (5.0, 10.0, 20.0)]
LIMITS = ("accuracy >= baseline - 0.1", "decode_ms_p50 <= 15")


def prior(values: list[tuple[float, float]]) -> Prior:
    """Return a study of these candidates in which they had other values."""
    results = [
        _result(n + 1, c, *v) for n, (c, v) in enumerate(zip(CANDIDATES, values, strict=True))
    ]
    return Prior("elsewhere", False, True, True, True, len(results), results, len(results))


def _result(id: int, candidate: Candidate, accuracy: float, ms: float) -> TrialResult:
    measured = {
        "accuracy": Measurement("accuracy", accuracy, "fraction", accuracy, accuracy, 100),
        "decode_ms_p50": Measurement("decode_ms_p50", ms, "ms", ms, ms, 10),
    }
    return TrialResult(id, candidate, OutcomeKind.OK, measurements=measured)


def searched(priors: tuple[Prior, ...]) -> Engine:
    engine = make_engine(Path("x"), CANDIDATES, LIMITS, priors=priors)
    engine.run()
    return engine


def told(engine: Engine) -> tuple[object, ...]:
    summary = engine.summary()
    outcomes = [
        (o.id, o.candidate, o.kind, o.reason, o.measurements) for o in engine.recorder.outcomes
    ]
    return outcomes, summary.best, summary.front, summary.feasible, summary.limits


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1e6)), min_size=6, max_size=6))
def test_a_search_yields_the_same_whatever_an_earlier_study_yielded(
    values: list[tuple[float, float]],
) -> None:
    assert told(searched((prior(values),))) == told(searched(()))


def test_which_strategies_take_priors() -> None:
    assert takes_priors(ChainSearch)
    assert not takes_priors(Exhaustive)


def test_values_are_alike_where_what_they_depend_on_is_the_same() -> None:
    found = prior([(0.5, 1.0)] * 6)
    assert found.alike(device=False)
    assert not found.alike(device=True)
    assert found.ignored == 0
    assert found.metrics == ("accuracy", "decode_ms_p50")
