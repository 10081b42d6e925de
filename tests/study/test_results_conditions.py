"""What the results document says of the device's state while candidates were measured."""

from __future__ import annotations

from dataclasses import replace

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.conditions import Conditions
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, TrialResult
from paretune.reporting.condition_lines import condition_lines, sensors_sentence
from paretune.search.constraints import Objective
from paretune.search.summary import summarize
from paretune.study.measurement_notes import remarks
from paretune.study.results import Results
from paretune.study.results_conditions import condition_notes, conditions_of, sensors_of
from paretune.study.results_document import ResultsDocument

OBJECTIVES = (Objective("decode_ms_p50", "minimize"),)
COOL = Conditions(1800.0, 1800.0, 60.0, reports_throttling=True)
HOT = Conditions(
    800.0, 1800.0, 85.0, throttled=("board: throttled",), reports_throttling=True, repeated=True
)


def outcome(id: int, *conditions: Conditions | None) -> TrialResult:
    """Return a candidate with a metric for each of some conditions."""
    names = ("decode_ms_p50", "ttft_ms_p50", "load_s")
    return TrialResult(
        id,
        Candidate((Step("genai", {"x": id}),), RuntimeSettings("cpu", 2)),
        OutcomeKind.OK,
        Rung.FULL,
        None,
        measurements={
            name: Measurement(name, 10.0, "ms", 9.0, 11.0, 9, "t-1").noting(conditions=each)
            for name, each in zip(names, conditions, strict=False)
        },
        artifact=f"sha256:{id}",
    )


def document(*outcomes: TrialResult, status: str = "finished") -> Results:
    made = ResultsDocument(
        "s", "sha256:c", {"name": "board"}, OBJECTIVES, (), outcomes[0].candidate.digest
    )
    return made.results(outcomes, summarize(outcomes, OBJECTIVES, (), outcomes[0]), status)


def test_the_worst_of_a_candidates_measurements_is_shown() -> None:
    both = outcome(1, COOL, HOT, None)
    assert conditions_of(both) == HOT
    results = document(both, outcome(2, COOL))
    hot, cool = results.candidates
    assert hot.conditions is not None
    assert hot.conditions.to_json() == HOT.to_json()
    assert condition_lines(hot) == [
        "800 of 1,800 MHz, 85 °C",
        "measured while the device was throttled: board: throttled",
    ]
    assert condition_lines(cool) == ["1,800 of 1,800 MHz, 60 °C"]
    assert results.sensors == ["frequency", "temperature", "throttling"]
    assert results.devices["board"].sensors == results.sensors
    assert Results.from_json(results.to_json()) == results


def test_what_was_throttled_is_noted_once_for_all() -> None:
    outcomes = [outcome(1, COOL), outcome(2, HOT), outcome(4, HOT)]
    (note,) = condition_notes(outcomes)
    assert note.startswith(
        "the device was throttled while candidates 2, 4 were measured (board: throttled)"
    )
    assert document(*outcomes).notes == [note]
    assert document(*outcomes, status="running").notes == []
    (note,) = condition_notes([outcome(id, HOT) for id in range(1, 20)])
    assert "while 19 candidates were measured" in note
    (note,) = condition_notes([outcome(3, replace(COOL, clock_jump_s=3600.0))])
    assert note.startswith("the device's wall clock was set while candidate 3 was measured")


def test_a_device_that_reports_nothing_is_said_so_once_and_not_per_candidate() -> None:
    results = document(outcome(1, Conditions()), outcome(2, Conditions()))
    assert results.sensors == []
    assert all("conditions" not in entry.to_json() for entry in results.candidates)
    assert all(condition_lines(entry) == [] for entry in results.candidates)
    told = sensors_sentence(results)
    assert told is not None
    assert told.startswith("While it measures, this device reports neither")


def test_of_a_study_from_before_nothing_is_known() -> None:
    results = document(outcome(1, None))
    assert sensors_of([outcome(1, None)]) is None
    assert results.sensors is None
    assert "sensors" not in results.to_json()
    assert sensors_sentence(results) is None


def test_what_the_device_lacks_is_named() -> None:
    some = document(outcome(1, Conditions(temperature_c=50.0)))
    assert sensors_sentence(some) == (
        "While it measures, this device reports temperature. It does not report frequency or "
        "throttling."
    )
    gpu = document(outcome(1, replace(COOL, gpu_mhz=1400.0, gpu_temperature_c=55.0)))
    assert "of its GPU" in str(sensors_sentence(gpu))
    assert condition_lines(gpu.candidates[0]) == [
        "1,800 of 1,800 MHz, 60 °C, GPU 1,400 MHz, GPU 55 °C"
    ]


def test_a_throttled_value_of_one_process_says_so_itself() -> None:
    (said,) = remarks(Measurement("mine", 1.0, "s", protocol="m-1").noting(conditions=HOT))
    assert said == "measured while the device was throttled (board: throttled)"
    assert remarks(Measurement("mine", 1.0, "s", protocol="m-1").noting(conditions=COOL)) == []
