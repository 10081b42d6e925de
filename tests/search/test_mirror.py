import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.search.constraints import Objective
from paretune.search.mirror import Mirror

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))


def outcome(id: int, kind: OutcomeKind = OutcomeKind.OK, **params: object) -> TrialResult:
    candidate = Candidate((Step("genai", params),), RuntimeSettings("cpu", id % 2 + 1))
    measured = {
        "accuracy": Measurement("accuracy", 0.9, "fraction"),
        "size_mb": Measurement("size_mb", 90.0, "MB"),
    }
    full = kind is OutcomeKind.OK
    return TrialResult(
        id, candidate, kind, reason=None if full else "why", measurements=measured if full else None
    )


OUTCOMES = [
    outcome(1, precision="int4", block_size=32),
    outcome(2, precision="int8"),
    outcome(3, OutcomeKind.CRASHED, precision="fp32", exclude=["a", "b"]),
]


def test_optuna_reads_one_finished_trial_an_outcome(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(OUTCOMES[:1])
    for added in OUTCOMES[1:]:
        mirror.add(added, (0.0, 0.5))
    mirror.close()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert study.trials[0].values == [0.9, 90.0]
    assert study.trials[0].params["genai.block_size"] == 32
    assert study.trials[2].user_attrs["reason"] == "why"
    assert study.metric_names == ["accuracy", "size_mb"]


def test_a_mirror_written_anew_keeps_the_constraints(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(OUTCOMES[:2], lambda outcome: (0.0, float(outcome.id)))
    mirror.close()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [dict(t.constraints) for t in study.trials] == [
        {"0": 0.0, "1": 1.0},
        {"0": 0.0, "1": 2.0},
    ]


def test_a_damaged_mirror_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database")
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(OUTCOMES)
    mirror.close()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert len(study.trials) == 3


def _trials(tmp_path: Path, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'study.db'}")
    return study.trials


def test_what_is_held_already_is_not_written_again(tmp_path: Path) -> None:
    """A search that goes on adds what came since; a thousand candidates take no half minute."""
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(OUTCOMES, lambda outcome: (0.5,))
    mirror.close()
    before = [t.datetime_complete for t in _trials(tmp_path)]
    again = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    again.rebuild([*OUTCOMES, outcome(4, precision="int8")], lambda outcome: (0.5,))
    again.add(outcome(5, precision="int4"))
    found = _trials(tmp_path)
    assert [t.datetime_complete for t in found[:3]] == before
    assert [t.user_attrs["id"] for t in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["value", "order", "fewer", "limits", "objectives", "name"])
def test_a_file_that_says_something_else_is_written_anew(tmp_path: Path, change: str) -> None:
    mirror = Mirror(tmp_path / "study.db", "s", OBJECTIVES)
    mirror.rebuild(OUTCOMES, lambda outcome: (0.5,))
    mirror.close()
    outcomes, broken, objectives, name = list(OUTCOMES), (0.5,), OBJECTIVES, "s"
    if change == "value":
        better = {
            **(outcomes[1].measurements or {}),
            "accuracy": Measurement("accuracy", 0.95, "fraction"),
        }
        outcomes[1] = replace(outcomes[1], measurements=better)
    elif change == "order":
        outcomes.reverse()
    elif change == "fewer":
        del outcomes[1]
    elif change == "limits":
        broken = (0.0,)
    elif change == "objectives":
        objectives = OBJECTIVES[::-1]
    else:
        name = "other"
    again = Mirror(tmp_path / "study.db", name, objectives)
    again.rebuild(outcomes, lambda outcome: broken)
    fresh = Mirror(tmp_path / "fresh.db", name, objectives)
    fresh.rebuild(outcomes, lambda outcome: broken)
    expected = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'fresh.db'}")
    for a, b in zip(_trials(tmp_path, name), expected.trials, strict=True):
        assert (a.state, a.values, a.params, a.user_attrs) == (
            b.state,
            b.values,
            b.params,
            b.user_attrs,
        )
        assert dict(a.constraints or {}) == dict(b.constraints or {})


@pytest.mark.slow
def test_optuna_dashboard_opens_it(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    mirror = Mirror(tmp_path / "study.db", "tone", OBJECTIVES)
    mirror.rebuild(OUTCOMES)
    mirror.close()
    port = "18765"
    server = subprocess.Popen(
        [
            Path(sys.executable).with_name("optuna-dashboard"),
            f"sqlite:///{tmp_path}/study.db",
            "--host",
            "127.0.0.1",
            "--port",
            port,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                url = f"http://127.0.0.1:{port}/api/studies"
                with urllib.request.urlopen(url, timeout=5) as reply:
                    assert b'"tone"' in reply.read()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.3)
    finally:
        server.terminate()
        server.wait(timeout=10)
