from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.search.outcomes import (
    Outcomes,
    arrived,
    built_as,
    era,
    finished,
    of_candidate,
    of_structure,
    skipped,
    version,
    with_id,
)


def outcome(id: int, artifact: int = 0, kind: OutcomeKind = OutcomeKind.OK) -> TrialResult:
    name = f"sha256:{artifact}"
    seconds = (StepTime("noop", float(id), False),)
    return TrialResult(
        id, Candidate(()), kind, artifact=name, structure=name, seconds=seconds, ran_job=id % 2 == 0
    )


changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove"]),
        st.integers(1, 8),
        st.integers(0, 2),
        st.sampled_from([OutcomeKind.OK, OutcomeKind.SKIPPED]),
    ),
    max_size=20,
)


@given(changes)
def test_what_is_at_hand_is_what_a_plain_list_has(
    steps: list[tuple[str, int, int, OutcomeKind]],
) -> None:
    some, plain = Outcomes(), list[TrialResult]()
    for what, id, artifact, kind in steps:
        before, held = version(some), list(some)
        same_era, came = era(some), list(arrived(some))
        plain = [o for o in plain if o.id != id]
        if what == "put":
            plain = sorted([*plain, outcome(id, artifact, kind)], key=lambda o: o.id)
            some.put(outcome(id, artifact, kind))
        elif some.get(id) is not None:
            some.remove(outcome(id))
        assert list(some) == plain
        if version(some) == before:
            assert list(some)[: len(held)] == held
        if era(some) == same_era:
            assert list(arrived(some))[: len(came)] == came
        assert sorted(arrived(some), key=lambda o: o.id) == plain
    for id in range(9):
        assert with_id(some, id) == with_id(plain, id)
    for artifact in range(3):
        name = f"sha256:{artifact}"
        assert list(built_as(some, name)) == list(built_as(plain, name))
        assert list(of_structure(some, name)) == list(of_structure(plain, name))
    assert skipped(some) == skipped(plain)
    assert list(finished(some)) == list(finished(plain))
    digest = Candidate(()).digest
    assert of_candidate(some, digest) == of_candidate(plain, digest)
    assert of_candidate(some, "sha256:none") is None
    assert some.trials == sum(o.is_trial for o in plain)
    assert abs(some.spent_s - sum(o.spent_s for o in plain)) < 1e-6


def test_a_plain_list_is_never_known_to_be_the_same() -> None:
    plain = [outcome(1)]
    assert version(plain) != version(plain)
    assert with_id(plain, None) is None
