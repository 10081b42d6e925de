import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from paretune.measurement import Measurement
from paretune.search.candidate import Candidate, RuntimeSettings, Step
from paretune.search.constraints import Objective
from paretune.search.mirror import Mirror
from paretune.search.outcome import Outcome, OutcomeKind

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("size_mb", "minimize"))


def outcome(id: int, kind: OutcomeKind = OutcomeKind.OK, **params: object) -> Outcome:
    candidate = Candidate((Step("genai", params),), RuntimeSettings("cpu", id % 2 + 1))
    measured = {
        "accuracy": Measurement("accuracy", 0.9, "fraction"),
        "size_mb": Measurement("size_mb", 90.0, "MB"),
    }
    full = kind is OutcomeKind.OK
    return Outcome(id, candidate, kind, reason=None if full else "why",
                   measurements=measured if full else None)  # fmt: skip


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


@pytest.mark.slow
def test_optuna_dashboard_opens_it(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    mirror = Mirror(tmp_path / "study.db", "tone", OBJECTIVES)
    mirror.rebuild(OUTCOMES)
    mirror.close()
    port = "18765"
    server = subprocess.Popen(
        [Path(sys.executable).with_name("optuna-dashboard"), f"sqlite:///{tmp_path}/study.db",
         "--host", "127.0.0.1", "--port", port],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
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
