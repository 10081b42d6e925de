import random

from hypothesis import given, settings
from hypothesis import strategies as st
from random_spaces import spaces

from paretune.core.candidate import Candidate, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.space import PassSlot, Space
from paretune.search.strategies.learning import Learner, Told, fittest
from paretune.search.strategies.unseen import Unseen

SPACE = Space((PassSlot("p", {"x": tuple(range(10)), "y": ("a", "b")}),))
OBJECTIVES = (Objective("accuracy", "maximize"), Objective("ms", "minimize"))
INF = float("inf")


def told(learner: Learner, kind: OutcomeKind, broken: tuple[float, ...] = (), **values: float):  # type: ignore[no-untyped-def]
    measured = {name: Measurement(name, value, "") for name, value in values.items()}
    return learner.told(
        SPACE.at(0), TrialResult(1, SPACE.at(0), kind, measurements=measured), broken
    )


def test_every_kind_of_outcome_teaches() -> None:
    learner = Learner(SPACE, OBJECTIVES)
    assert told(learner, OutcomeKind.PRUNED) is None  # there is no worst value yet
    assert told(learner, OutcomeKind.OK, (0.0,), accuracy=0.9, ms=5.0).losses == (-0.9, 5.0)
    assert told(learner, OutcomeKind.OK, (0.2,), accuracy=0.7, ms=9.0).excess == 0.2
    assert told(learner, OutcomeKind.PRUNED, (0.0, INF), ms=3.0).losses == (-0.7, 3.0)
    assert told(learner, OutcomeKind.PRUNED, (0.0, INF), ms=3.0).excess == 0
    stopped = told(learner, OutcomeKind.INFEASIBLE, (0.4, INF))
    assert (stopped.losses, stopped.broken) == ((-0.7, 9.0), (0.4, 0.0, 0.0))
    for kind in (OutcomeKind.FAILED, OutcomeKind.OUT_OF_MEMORY, OutcomeKind.SKIPPED):
        assert told(learner, kind, ()).broken == (1.0,)
    assert told(learner, OutcomeKind.OK, (), ms=3.0) is None


def test_a_cause_outside_of_it_teaches_nothing() -> None:
    learner, candidate = Learner(SPACE, OBJECTIVES), SPACE.at(0)
    failed = TrialResult(1, candidate, OutcomeKind.FAILED, transient=True)
    assert learner.told(candidate, failed, ()) is None
    outside = Candidate((Step("q"),))
    assert learner.told(outside, TrialResult(1, outside, OutcomeKind.FAILED), ()) is None


results = st.lists(
    st.builds(
        Told,
        st.just({}),
        st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float)),
        st.tuples(st.sampled_from([0.0, 0.0, 0.5]), st.sampled_from([0.0, 0.0, 1.0])),
    ),
    max_size=15,
)


@given(results, st.integers(0, 15))
def test_the_fittest_are_not_beaten_by_what_is_left(some: list[Told], count: int) -> None:
    kept = fittest(some, count)
    assert len(kept) == min(count, len(some))
    ids = {id(one) for one in kept}
    assert [one for one in some if id(one) in ids] == kept
    assert not any(b.beats(a) for a in kept for b in some if id(b) not in ids)


@settings(max_examples=20)
@given(spaces.filter(lambda space: space.size <= 100), st.integers(0, 10**6))
def test_there_is_an_unseen_candidate_until_all_were_seen(space: Space, seed: int) -> None:
    unseen, draw = Unseen(space), random.Random(seed)
    different = len(set(space))
    candidate = space.at(seed % space.size)
    unseen.see(candidate)
    for _ in range(different - 1):
        found = unseen.nearest(candidate, draw)
        assert found is not None
        assert found in unseen
        assert space.index(found) is not None
        unseen.see(found)
    assert unseen.nearest(candidate, draw) is None
    assert unseen.any(draw) is None


def test_the_nearest_one_differs_by_one_step() -> None:
    space = Space((PassSlot("p", {"x": tuple(range(100)), "y": ("a", "b")}),))
    unseen, draw = Unseen(space), random.Random(0)
    middle = Candidate((Step("p", {"x": 50, "y": "a"}),))
    unseen.see(middle)
    nearest = []
    for _ in range(3):
        found = unseen.nearest(middle, draw)
        assert found is not None
        unseen.see(found)
        nearest.append((found.recipe[0].params["x"], found.recipe[0].params["y"]))
    assert sorted(nearest) == [(49, "a"), (50, "b"), (51, "a")]
