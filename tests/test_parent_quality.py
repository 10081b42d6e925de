"""Real trainings and builds of a tiny model: a hopeless training is stopped before its builds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune import optimize
from paretune.search import parent_first
from paretune.study.results import Results
from tests.tiny_models import make_tiny_llama

WORDS = {"joy": ["sun", "song", "dance"], "fear": ["dark", "wolf", "fall"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


def write_config(folder: Path, model: Path, rates: list[float], **search: Any) -> Path:
    """Write trainings with these learning rates, and four builds of each.

    The baseline is the good training.
    """
    rows = [
        {"phrase": f"the {words[i % 3]} on road {i}", "tone": tone}
        for i in range(60)
        for tone, words in WORDS.items()
    ]
    (folder / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"file": "tone.jsonl", "prompt": "{phrase}: ", "answer": "{tone}"}
    tuned = {"train": "tone.train", "r": 4, "max_steps": 40, "batch_size": 8}
    config = {
        "model": str(model),
        "data": {"tone": {**data, "split": {"test": 0.7}}},
        "passes": [
            {"lora": {**tuned, "learning_rate": rates}},
            "merge",
            {
                "any": [
                    {"genai": {"precision": "int8"}},
                    {"genai": {"precision": "int4", "block_size": [16, 32, 64]}},
                ]
            },
        ],
        "baseline": [
            {"lora": {**tuned, "learning_rate": 1e-2}},
            "merge",
            {"genai": {"precision": "fp32"}},
        ],
        "evaluate": [{"classification": {"data": "tone.test", "rough_examples": 24}}, "footprint"],
        "target": {"threads": [1]},
        "objectives": {"maximize": "accuracy", "minimize": "size_mb"},
        "constraints": ["accuracy >= baseline - 0.05"],
        "search": {"strategy": "exhaustive", **search},
    }
    file = folder / "tone.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def trained_with(row: dict[str, Any]) -> float:
    return row["recipe"][0]["params"]["learning_rate"]


def steps(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [s for row in rows for s in row["seconds"] if s["step"] == name and not s["cached"]]


BAD, GOOD = 1e-9, 1e-2
"""A learning rate with which nothing is learned, and one with which everything is."""


@pytest.mark.slow
def test_a_hopeless_training_is_stopped_before_its_builds(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether it pays is not the question here, and depends on what else the machine does.
    monkeypatch.setattr(parent_first, "measuring_s", lambda *_: 0.0)
    config = write_config(tmp_path, model, [BAD, GOOD])
    study, store = tmp_path / "study", tmp_path / "store"
    found = optimize(config, study=study, store=store).results
    Results.model_validate(found)
    rows = found["candidates"]
    bad = [row for row in rows if trained_with(row) == BAD]
    good = [row for row in rows[1:] if trained_with(row) == GOOD]
    assert [row["outcome"] for row in bad] == 4 * ["infeasible"]
    assert [step["step"] for step in bad[0]["seconds"]] == ["lora", "merge", "parent"]
    assert [row["seconds"] for row in bad[1:]] == [[], [], []]
    for row in bad:
        assert row["artifact"] is None
        assert "before any build" in row["reason"]
        assert row["parent"]["metrics"]["accuracy"]["value"] < 0.8
        assert row["parent"]["bounds"]["accuracy"][1] < 1
    assert len(good) == 4
    assert {row["outcome"] for row in good} <= {"ok", "pruned", "infeasible"}
    assert all(row["artifact"] is not None for row in good)
    assert len(steps(rows, "genai")) == 1 + 4
    page = (study / "report.html").read_text()
    assert "before its build" in page
    off = write_config(tmp_path, model, [BAD, GOOD], parent_quality=False)
    plain = optimize(off, study=tmp_path / "other", store=store).results["candidates"]
    assert steps(plain, "parent") == []
    assert all(row.get("parent") is None for row in plain)
    assert all(row["artifact"] is not None for row in plain)


KILL = """
import os, signal, sys
from paretune import optimize
from paretune.search import parent_first
parent_first.measuring_s = lambda *_: 0.0
from paretune.study.parents import Parents
put = Parents.put
def killed(self, artifact, slot, measured):
    put(self, artifact, slot, measured)
    os.kill(os.getpid(), signal.SIGKILL)
Parents.put = killed
optimize(sys.argv[1], study=sys.argv[2], store=sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="SIGKILL")
def test_a_killed_search_does_not_measure_a_parent_again(tmp_path: Path, model: Path) -> None:
    config = write_config(tmp_path, model, [BAD], builds=2)
    study, store = tmp_path / "study", tmp_path / "store"
    call = [sys.executable, "-c", KILL, str(config), str(study), str(store)]
    ended = subprocess.run(call, env=dict(os.environ), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    kept = [file.read_text() for file in (study / "parents").iterdir()]
    assert len(kept) == 1
    rows = optimize(config, study=study, store=store).results["candidates"]
    assert [row["outcome"] for row in rows[1:]] == 4 * ["infeasible"]
    assert steps(rows, "parent") == []
    assert [file.read_text() for file in (study / "parents").iterdir()] == kept
