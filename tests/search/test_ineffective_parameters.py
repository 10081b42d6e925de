from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.ineffective_parameters import parameters_without_effect


def built(id: int, artifact: str | None, threads: int = 1, **params: object) -> TrialResult:
    candidate = Candidate((Step("p", params), Step("q")), RuntimeSettings("cpu", threads))
    return TrialResult(id, candidate, OutcomeKind.OK, artifact=artifact)


def test_a_parameter_whose_every_change_gives_the_same_bytes_is_named() -> None:
    outcomes = [built(1, "A", x=1, y=1), built(2, "A", x=2, y=1), built(3, "B", x=1, y=2)]
    assert parameters_without_effect(outcomes) == [
        {"pass": "p", "param": "x", "values": ["1", "2"], "groups": 1}
    ]


def test_one_difference_is_enough_to_clear_it() -> None:
    outcomes = [
        built(1, "A", x=1, y=1),
        built(2, "A", x=2, y=1),
        built(3, "B", x=1, y=2),
        built(4, "C", x=2, y=2),
    ]
    assert parameters_without_effect(outcomes) == []


def test_run_time_settings_and_missing_artifacts_show_nothing() -> None:
    outcomes = [built(1, "A", threads=1, x=1), built(2, "A", threads=2, x=1), built(3, None, x=2)]
    assert parameters_without_effect(outcomes) == []
