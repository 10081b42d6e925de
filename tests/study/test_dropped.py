"""What was used stays used, and a number never comes back with another candidate's measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import StateError
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.study.folder import Study, read_outcomes


def _outcome(id: int, seconds: float = 1.5, *, measured: bool = True) -> TrialResult:
    accuracy = Measurement("accuracy", id / 10, "fraction", 0.0, 1.0, 2, "p", (0.0, 1.0))
    return TrialResult(
        id,
        Candidate((Step("noop", {"x": id}),), RuntimeSettings("cpu", 1)),
        OutcomeKind.OK if measured else OutcomeKind.CRASHED,
        measurements={"accuracy": accuracy} if measured else {},
        seconds=(StepTime("noop", seconds, False),),
    )


def test_a_dropped_outcome_keeps_its_time_its_trial_and_its_number(tmp_path: Path) -> None:
    study = Study(tmp_path)
    for id in (1, 2):
        study.record(_outcome(id))
    study.forget(study.outcomes[1])
    study.close()
    again = Study(tmp_path)
    assert (again.spent(), again.trials(), again.next_id()) == (3.0, 2, 3)
    assert [o.id for o in again.unfinished()] == [2]
    assert [o.id for o in again.outcomes] == [1]


def test_a_crashed_candidate_reads_back_nobodys_measurements(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.record(_outcome(1))
    study.forget(study.outcomes[0])
    study.record(_outcome(1, measured=False))
    (found,) = read_outcomes(tmp_path)
    assert not found.measurements
    # Nor those that a process left which was killed between its two files.
    (study.candidate_folder(2) / "measurements.json").write_text(
        json.dumps({"accuracy": _outcome(2).to_json()["metrics"]["accuracy"]})
    )
    study.record(_outcome(2, measured=False))
    assert not read_outcomes(tmp_path)[1].measurements


def test_a_new_outcome_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    study = Study(tmp_path)
    for id in (1, 2, 3):
        study.record(_outcome(id))
    study.record(_outcome(2, 4.0, measured=False))
    study.record(_outcome(2, 8.0))
    assert [o.id for o in study.outcomes] == [1, 2, 3]
    study.close()
    again = Study(tmp_path)
    assert again.outcomes[1].seconds[0].s == 8.0
    assert (again.spent(), again.trials(), again.unfinished()) == (16.5, 5, [])


def test_work_without_an_outcome_is_spent(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.waste(30.0)
    study.waste(12.5)
    study.close()
    assert Study(tmp_path).spent() == 42.5


def test_what_is_used_and_cannot_be_read_is_told(tmp_path: Path) -> None:
    Study(tmp_path).close()
    (tmp_path / "spent.json").write_text("[]")
    with pytest.raises(StateError, match=r"spent\.json cannot be read"):
        Study(tmp_path)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["record", "forget", "waste"]), st.integers(1, 4)), max_size=12
    )
)
def test_what_is_spent_never_falls(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("study")
    study, spent, tried = Study(folder), 0.0, 0
    for what, number in steps:
        if what == "record":
            study.record(_outcome(number))
        elif what == "waste":
            study.waste(number)
        elif study.outcomes:
            study.forget(study.outcomes[number % len(study.outcomes)])
        assert study.spent() >= spent
        assert study.trials() >= tried
        spent, tried = study.spent(), study.trials()
    study.close()
    again = Study(folder)
    assert (again.spent(), again.trials()) == (spent, tried)
    again.close()
