import json
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import StateError, UsageError
from paretune.core.measurement import Measurement, Rung
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.store.gc import in_use
from paretune.study.folder import Study, read_outcomes

DEVICE = {"fingerprint": "sha256:d"}


def outcome(id: int, **changes: object) -> TrialResult:
    values = {
        "id": id,
        "candidate": Candidate((Step("noop", {"x": id}),), RuntimeSettings("cpu", 2)),
        "kind": OutcomeKind.OK,
        "rung": Rung.FULL,
        "measurements": {
            "accuracy": Measurement("accuracy", 0.5, "fraction", 0.4, 0.6, 2, "p", (0.0, 1.0))
        },
        "artifact": "sha256:a",
        "seconds": (StepTime("noop", 1.5, False), StepTime("old", 9.0, True)),
    }
    return TrialResult(**{**values, **changes})  # type: ignore[arg-type]


def test_an_outcome_is_read_back_whole(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.begin(1, outcome(1).candidate)
    study.record(outcome(1))
    study.close()
    (found,) = read_outcomes(tmp_path)
    assert found == outcome(1)
    assert Study(tmp_path).next_id() == 2


def test_a_candidate_without_an_outcome_does_not_exist(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.begin(1, outcome(1).candidate)
    assert read_outcomes(tmp_path) == []
    assert study.next_id() == 1


def test_spent_is_the_work_that_was_really_done(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.record(outcome(1))
    assert study.spent() == 1.5


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    held = Study(tmp_path)
    code = (
        "import sys; from pathlib import Path; from paretune.study.folder import Study\n"
        "try: Study(Path(sys.argv[1]))\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert seen.stdout.startswith("StateError")
    holder = (tmp_path / ".holder").read_text().strip()
    assert f"in use by {holder}" in seen.stdout
    held.close()
    Study(tmp_path).close()


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from paretune.study.folder import Study\n"
        "study = Study(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    Study(tmp_path).close()


def test_a_damaged_outcome_is_named(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.record(outcome(1))
    study.close()
    (tmp_path / "candidates" / "0001" / "outcome.json").write_text("{")
    with pytest.raises(StateError, match=r"0001.outcome\.json cannot be read"):
        Study(tmp_path)


def test_what_may_not_change_is_refused_with_the_difference(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.claim("a: 1", {"a": 1}, {"model": "sha256:1"}, DEVICE)
    study.claim("a: 1", {"a": 1}, {"model": "sha256:2"}, DEVICE)  # nothing measured yet
    study.record(outcome(1))
    study.claim("a: 2", {"a": 2}, {"model": "sha256:2"}, DEVICE)
    with pytest.raises(UsageError, match="model was sha256:2, is sha256:3"):
        study.claim("a: 2", {"a": 2}, {"model": "sha256:3"}, DEVICE)
    with pytest.raises(UsageError, match="device was"):
        study.claim("a: 2", {"a": 2}, {"model": "sha256:2"}, {"fingerprint": "sha256:e"})


def test_the_difference_is_told_to_the_leaf(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.claim("", {}, {"evaluators": [{"name": "e", "params": {"n": 1}}]}, DEVICE)
    study.record(outcome(1))
    with pytest.raises(UsageError, match=r"evaluators\[0\]\.params\.n was 1, is 2\n"):
        study.claim("", {}, {"evaluators": [{"name": "e", "params": {"n": 2}}]}, DEVICE)


def test_a_study_in_which_nothing_ran_may_become_another(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.claim("", {}, {"model": "sha256:1"}, DEVICE)
    study.record(outcome(1, kind=OutcomeKind.SKIPPED, measurements={}, ran_job=False))
    study.claim("", {}, {"model": "sha256:2"}, DEVICE)
    assert study.outcomes == read_outcomes(tmp_path) == []


def test_forgetting_lets_a_candidate_be_tried_again(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.record(outcome(1))
    study.forget(study.outcomes[0])
    assert study.outcomes == read_outcomes(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Study(tmp_path / "file" / "study")


def test_a_value_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    bad = Measurement("accuracy", float("nan"), "fraction")
    with pytest.raises(ValueError, match="JSON"):
        Study(tmp_path).record(outcome(1, measurements={"accuracy": bad}))
    assert json.dumps(read_outcomes(tmp_path), default=str) == "[]"


def test_the_lock_of_a_killed_process_is_taken_over_and_its_leftovers_removed(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from paretune.study.folder import Study\n"
        "study = Study(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert in_use(tmp_path)
        with pytest.raises(StateError, match=f"in use by process {process.pid} on .* since 2"):
            Study(tmp_path)
        process.kill()
    (tmp_path / "candidates" / "0001").mkdir()
    for name in (".results.json.1.tmp", "candidates/0001/.outcome.json.1.tmp"):
        (tmp_path / name).write_text("{")
    (tmp_path / ".best.part").mkdir()
    assert not in_use(tmp_path)
    Study(tmp_path).close()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
    assert not (tmp_path / ".best.part").exists()


@pytest.mark.parametrize("name", ["identity.json", "device.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_a_damaged_file_of_the_study_is_told_as_such(
    tmp_path: Path, name: str, content: bytes
) -> None:
    study = Study(tmp_path)
    study.claim("", {}, {"model": "sha256:1"}, DEVICE)
    study.record(outcome(1))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StateError, match=f"{name} cannot be read"):
        study.claim("", {}, {"model": "sha256:1"}, DEVICE)
