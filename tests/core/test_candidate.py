import json
import os
import pickle
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step, describe

values = st.one_of(
    st.integers(-5, 5), st.floats(-1, 1), st.text(max_size=4), st.booleans(), st.none()
)
steps = st.builds(Step, st.sampled_from(["a", "b"]), st.dictionaries(st.text(max_size=3), values))
candidates = st.builds(
    Candidate,
    st.lists(steps, max_size=3).map(tuple),
    st.builds(RuntimeSettings, st.just("cpu"), st.integers(1, 8)),
)


@given(candidates)
def test_json_leads_back_and_keeps_the_digest(candidate: Candidate) -> None:
    read = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
    assert read == candidate
    assert read.digest == candidate.digest
    assert hash(read) == hash(candidate)


@given(steps)
def test_the_order_of_parameters_does_not_count(step: Step) -> None:
    turned = Step(step.name, dict(reversed(list(step.params.items()))))
    assert Candidate((turned,)).digest == Candidate((step,)).digest
    assert hash(turned) == hash(step)


@given(candidates, candidates)
def test_digests_tell_candidates_apart(a: Candidate, b: Candidate) -> None:
    assert (a.digest == b.digest) == (
        json.dumps(a.to_json(), sort_keys=True) == json.dumps(b.to_json(), sort_keys=True)
    )


def test_one_line_says_it() -> None:
    candidate = Candidate(
        (Step("lora", {"train": "t.train", "r": 4, "learning_rate": 5e-4}), Step("merge")),
        RuntimeSettings("cpu", 2),
    )
    assert describe(candidate) == "lora(r=4, learning_rate=0.0005) > merge @ cpu x2"
    assert describe(Candidate(())) == "unchanged @ cpu x1"


def test_a_step_that_was_hashed_is_the_same_in_another_process() -> None:
    step = Step("lora", {"r": 4})
    hash(step)
    look = (
        "import pickle, sys; from paretune.core.candidate import Step; "
        "step = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "print(step in {Step('lora', {'r': 4})})"
    )
    for seed in ("1", "2"):
        call = [sys.executable, "-c", look, pickle.dumps(step).hex()]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        told = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
        assert told.stdout == "True\n"
