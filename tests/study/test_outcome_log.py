"""The log only saves reading the files: whatever is wrong with it, their content is what counts."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import StateError
from paretune.core.measurement import Measurement
from paretune.core.on_disk import OnDisk
from paretune.core.result import OutcomeKind, StepTime, TrialResult
from paretune.study import outcome_log
from paretune.study.folder import Study, read_outcomes
from paretune.study.outcome_log import LOG, OutcomeLog
from paretune.study.samples import LONG, SamplesOnDisk

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    count = draw(st.sampled_from([0, 1, LONG, LONG + 1, 40]))
    samples = tuple(draw(finite) for _ in range(min(count, 3))) * 14
    details: dict[str, Any] = {"early": draw(st.booleans()), "own": draw(st.integers(0, 3))}
    if draw(st.booleans()):
        details["rows"] = list(range(count))
    if draw(st.booleans()):
        details["of_rows"] = [[n, 1, 0] for n in range(count)]
    if draw(st.booleans()):
        details["processes"] = [{"n": 2, "value": 1.5, "round": None}]
    value = draw(st.none() | finite)
    return Measurement(
        "m", value, "ms", value, value, count, "p-1", samples[:count], "why", details
    )


@st.composite
def outcomes(draw: st.DrawFn) -> TrialResult:
    candidate = Candidate(
        (Step("noop", {"x": draw(st.integers(0, 3))}),), RuntimeSettings("cpu", 2)
    )
    names = draw(st.sets(st.sampled_from(["accuracy", "decode_ms_p50"])))
    return TrialResult(
        draw(st.integers(1, 6)),
        candidate,
        draw(st.sampled_from(OutcomeKind)),
        reason=draw(st.none() | st.text(max_size=4)),
        measurements={name: replace(draw(measurements()), metric=name) for name in names},
        seconds=(StepTime("noop", 0.25, False),),
        structure=draw(st.none() | st.just("sha256:s")),
        ended_s=draw(st.none() | st.just(2.5)),
    )


def read(folder: Path) -> list[TrialResult]:
    return OutcomeLog(folder, SamplesOnDisk()).read()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["record", "update", "forget"]), outcomes()), max_size=9))
def test_the_log_says_what_the_files_say(steps: list[tuple[str, TrialResult]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, held = Study(folder), list[tuple[TrialResult, TrialResult]]()
        for what, outcome in steps:
            known = study.outcomes.get(outcome.id)
            if what == "record" or (what == "update" and known is not None):
                getattr(study, what)(outcome)
                kept = study.outcomes.get(outcome.id)
                assert kept is not None
                held.append((kept, outcome))
            elif known is not None:
                study.forget(known)
        for kept, outcome in held:  # also those that were replaced since
            assert kept == outcome
            assert kept.measurements == outcome.measurements
        assert list(study.outcomes) == read_outcomes(folder)
        study.close()
        expected = read_outcomes(folder)
        found = read(folder)
        assert found == expected
        assert [o.to_json() for o in found] == [o.to_json() for o in expected]
        for outcome in found:
            for m in (outcome.measurements or {}).values():
                assert isinstance(m.__dict__["samples"], OnDisk) == (m.sample_count > LONG)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    made = Study(folder)
    for id in range(1, 6):
        made.record(_outcome(id))
    made.close()
    return folder


def _outcome(id: int, value: float = 1.0) -> TrialResult:
    candidate = Candidate((Step("noop", {"x": id}),), RuntimeSettings("cpu", 1))
    measured = {"m": Measurement("m", value + id, "ms", samples=tuple(map(float, range(40))))}
    return TrialResult(id, candidate, OutcomeKind.OK, measurements=measured)


def _no_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("an outcome was read from its file")

    monkeypatch.setattr(outcome_log, "read_outcome", refuse)


def test_a_study_is_opened_from_its_log_alone(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_outcomes(study)
    with monkeypatch.context() as patched:
        _no_file_is_read(patched)
        found = read(study)
    assert found == expected


def test_cut_at_any_byte_it_says_the_same_and_is_complete_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, whole = read_outcomes(study), (study / LOG).read_bytes()
    for end in [*range(0, len(whole), 97), len(whole) - 1]:
        (study / LOG).write_bytes(whole[:end])
        assert read(study) == expected
        again = Study(study)  # the process that was killed comes back, and goes on
        again.update(again.outcomes[0])
        again.close()
        with monkeypatch.context() as patched:
            _no_file_is_read(patched)
            assert [o.id for o in read(study)] == [1, 2, 3, 4, 5]
        whole = (study / LOG).read_bytes()
        expected = read_outcomes(study)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_byte_changes_no_result(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        made = Study(folder)
        for id in (1, 2):
            made.record(_outcome(id))
        made.close()
        content = bytearray((folder / LOG).read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        (folder / LOG).write_bytes(content)
        assert read(folder) == read_outcomes(folder)


def _edit(file: Path) -> None:
    found = json.loads(file.read_text())
    found["reason"] = "edited"
    file.write_text(json.dumps(found))


@pytest.mark.parametrize("change", ["edited", "copied", "swapped", "gone", "later", "measured"])
def test_files_that_changed_since_are_believed(study: Path, tmp_path: Path, change: str) -> None:
    first, second = study / "candidates/0001", study / "candidates/0002"
    if change == "edited":
        _edit(first / "outcome.json")
    elif change == "copied":
        shutil.copytree(study, tmp_path / "copy")
        study = tmp_path / "copy"
        _edit(study / "candidates/0003/outcome.json")
    elif change == "swapped":  # one study's log beside another one's files
        other = Study(tmp_path / "other")
        for id in range(1, 6):
            other.record(_outcome(id, 9.0))
        other.close()
        shutil.copyfile(study / LOG, tmp_path / "other" / LOG)
        study = tmp_path / "other"
    elif change == "gone":
        (second / "outcome.json").unlink()
    elif change == "later":  # the log was put back from before
        before = (study / LOG).read_bytes()
        again = Study(study)
        again.update(_outcome(2, 5.0))
        again.close()
        (study / LOG).write_bytes(before)
    else:
        file = second / "measurements.json"
        file.write_text(file.read_text().replace("39.0", "38.0"))
    found = read(study)
    assert found == read_outcomes(study)
    assert read(study) == found


def test_a_damaged_outcome_is_told_whatever_the_log_holds(study: Path) -> None:
    (study / "candidates/0003/outcome.json").write_text("{")
    with pytest.raises(StateError, match="0003"):
        Study(study)


def test_samples_whose_file_was_changed_meanwhile_are_not_read(study: Path) -> None:
    found = read(study)
    (study / "candidates/0004/measurements.json").write_text("{}")
    with pytest.raises(StateError, match="changed or removed while the study was open"):
        _ = (found[3].measurements or {})["m"].samples
    assert (found[3].measurements or {})["m"].value == 5.0


def test_a_study_without_a_log_is_opened_and_gets_one(study: Path) -> None:
    (study / LOG).unlink()
    expected = read_outcomes(study)
    opened = Study(study)
    assert list(opened.outcomes) == expected
    opened.close()
    assert len((study / LOG).read_text().splitlines()) == 5


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    study = Study(tmp_path)
    study.record(_outcome(1))
    study.close()
    assert read(tmp_path) == read_outcomes(tmp_path)
    assert os.path.isdir(tmp_path / LOG)
