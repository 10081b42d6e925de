"""The whole line with real child processes, store and study; only the passes are fakes."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fake_study import search, write_fake_study

from paretune.config import load
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.preflight.prepared import PreparedSearch
from paretune.store.artifacts import Store
from paretune.study.folder import read_outcomes
from paretune.targets.launchers.local import LocalTarget

TESTS = Path(__file__).resolve().parent


def test_misbehaving_candidates_are_outcomes_and_the_best_is_handed_over(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path,
        {"x": [1, 99], "quality": [0.7, 0.95], "misbehave": ["", "crash", "raise"]},
        constraints=["accuracy >= baseline - 0.02"],
    )
    result = search(config)
    by_outcome: dict[str, int] = {}
    for row in result.results["candidates"]:
        by_outcome[row["outcome"]] = by_outcome.get(row["outcome"], 0) + 1
    # 12 in the space and the baseline: half are ruled out, of the rest a third each.
    assert by_outcome == {"ok": 2, "infeasible": 1, "crashed": 2, "failed": 2, "skipped": 6}
    failed = next(r for r in result.results["candidates"] if r["outcome"] == "failed")
    assert failed["reason"] == "ValueError: as asked for"
    log = tmp_path / "study" / "candidates" / f"{failed['id']:04d}" / "worker.log"
    assert "ValueError" in log.read_text()
    best = next(r for r in result.results["candidates"] if r["id"] == result.results["best"])
    assert best["metrics"]["accuracy"]["value"] == 0.95
    assert result.best is not None
    assert (result.best / "recipe.yaml").is_file()
    assert (result.best / "model_card.md").is_file()
    assert list((tmp_path / "store" / "staging").iterdir()) == []


def test_what_was_ruled_out_is_looked_at_again(tmp_path: Path) -> None:
    """A device that had no memory to spare, or lacked a provider, may have it now."""
    (tmp_path / "first").mkdir()
    config = write_fake_study(tmp_path / "first", {"x": [1, 99]})
    search(config)
    file = tmp_path / "first" / "study" / "candidates" / "0003" / "outcome.json"
    before = json.loads(file.read_text())
    assert before["outcome"] == "skipped"
    before["recipe"][0]["params"]["x"] = 98  # what is allowed, as if it had been refused
    file.write_text(json.dumps(before))
    config.write_text(config.read_text().replace("99", "98"))
    again = search(config)
    assert [row["outcome"] for row in again.results["candidates"]] == ["ok", "ok", "ok"]


def test_shared_prefixes_are_built_once(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path,
        {},
        passes=[
            {"fake_train": {"x": [1, 2]}},
            {"noop": {"x": [1, 2, 3]}},
        ],
    )
    result = search(config)
    steps = [
        step
        for row in result.results["candidates"]
        for step in row["seconds"]
        if step["step"] == "fake_train"
    ]
    assert len(steps) == 6
    assert sum(not step["cached"] for step in steps) == 2


def test_a_parameter_that_changes_nothing_is_found_out(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2], "ignored": [0, 1]})
    result = search(config)
    kinds = [row["outcome"] for row in result.results["candidates"]]
    assert kinds.count("duplicate") == 2
    assert [n["param"] for n in result.results["no_difference"]] == ["ignored"]


def test_the_same_search_again_runs_nothing_and_more_trials_go_on(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": {"low": 1, "high": 5}})
    first = search(config, trials=3)
    stamp = (tmp_path / "study/candidates/0003/outcome.json").stat().st_mtime_ns
    again = search(config, trials=3)
    assert again.results["candidates"] == first.results["candidates"]
    assert (tmp_path / "study/candidates/0003/outcome.json").stat().st_mtime_ns == stamp
    more = search(config)
    assert len(more.results["candidates"]) == 6
    assert more.results["candidates"][:3] == first.results["candidates"]


def test_a_search_that_gains_too_little_ends_and_says_so(tmp_path: Path) -> None:
    stop = {"gain_per_minute": "50%", "after": 2}
    how = {"strategy": "exhaustive", "stop": stop}
    config = write_fake_study(tmp_path, {"x": {"low": 1, "high": 5}}, search=how)
    first = search(config).results
    assert len(first["candidates"]) == 3
    assert first["status"] == "finished"
    assert first["ended"]["by"] == "stop"
    assert "the last 2 trials gained 0.00% of the hypervolume" in first["ended"]["reason"]
    assert first["progress"][-1]["hypervolume"] == 1
    again = search(config).results
    assert again["candidates"] == first["candidates"]
    assert (
        "had ended by `stop: {gain_per_minute: 0.5, after: 2}` before" in again["ended"]["reason"]
    )
    config.write_text(config.read_text().replace("after: 2", "after: 3"))
    assert len(search(config).results["candidates"]) == 4


def test_relaxed_constraints_reopen_what_was_stopped_early(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path, {"quality": [0.6, 0.95], "speed": [1.0]}, constraints=["accuracy >= 0.9"]
    )
    first = search(config)
    assert "infeasible" in [row["outcome"] for row in first.results["candidates"]]
    config.write_text(config.read_text().replace("accuracy >= 0.9", "accuracy >= 0.5"))
    second = search(config)
    assert "infeasible" not in [row["outcome"] for row in second.results["candidates"]]
    assert len(second.results["candidates"]) == len(first.results["candidates"])


def test_a_limit_that_has_grown_lets_a_timeout_be_tried_again(tmp_path: Path) -> None:
    """Also where it was the baseline's: else the study could never go on."""
    config = write_fake_study(
        tmp_path,
        {"x": [1, 2]},
        baseline=[{"noop": {"x": 0, "misbehave": "slow"}}],
        search={"strategy": "exhaustive", "job_time": "1s"},
    )
    first = search(config)
    assert [row["outcome"] for row in first.results["candidates"]] == ["timeout", "ok", "ok"]
    stamp = (tmp_path / "study/candidates/0003/outcome.json").stat().st_mtime_ns
    again = search(config)
    assert [row["outcome"] for row in again.results["candidates"]] == ["timeout", "ok", "ok"]
    assert not list(tmp_path.glob("study/candidates/*/dropped-*.json")), "the limit is the same"
    config.write_text(config.read_text().replace("job_time: 1s", "job_time: 10m"))
    last = search(config)
    assert [(row["id"], row["outcome"]) for row in last.results["candidates"]] == [
        (1, "ok"),
        (2, "ok"),
        (3, "ok"),
    ]
    assert last.results["baseline"]["id"] == 1
    assert (tmp_path / "study/candidates/0003/outcome.json").stat().st_mtime_ns == stamp
    dropped = read_json(tmp_path / "study/candidates/0001/dropped-1.json")
    assert dropped["limit"] == {"seconds": 1.0}


def test_relaxing_a_limit_refunds_nothing(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path, {"quality": [0.5, 0.6, 0.7], "speed": [1.0]}, constraints=["accuracy >= 0.85"]
    )
    first = search(config, trials=4)
    stopped = [r["id"] for r in first.results["candidates"] if r["outcome"] == "infeasible"]
    assert stopped
    config.write_text(config.read_text().replace("accuracy >= 0.85", "accuracy >= 0.1"))
    same = search(config, trials=4)  # all of them are used
    assert [r["outcome"] for r in same.results["candidates"]] == [
        r["outcome"] for r in first.results["candidates"]
    ]
    more = search(config, trials=4 + len(stopped))
    rows = {r["id"]: r for r in more.results["candidates"]}
    assert {rows[id]["outcome"] for id in stopped} == {"ok"}
    for before in first.results["candidates"]:
        assert rows[before["id"]]["recipe"] == before["recipe"], "a number stays a candidate's"


def test_another_model_under_the_same_study_is_refused(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1]})
    search(config)
    (tmp_path / "model" / "config.json").write_text('{"model_type": "other"}')
    with pytest.raises(UsageError, match="model was"):
        search(config)


_ENDED = """
import os, sys
from pathlib import Path
from fake_study import search
from paretune.study.folder import Study

record = Study.record

def record_and_end(self, outcome):
    record(self, outcome)
    if len(self.outcomes) == 3:
        os.kill(os.getpid(), int(sys.argv[2]))

Study.record = record_and_end
search(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_ended_in_the_middle_and_resumed(tmp_path: Path, ending: signal.Signals) -> None:
    config = write_fake_study(tmp_path, {"x": {"low": 1, "high": 30}})
    paths = os.pathsep.join([str(TESTS), str(TESTS / "plugins"), str(TESTS.parent)])
    ended = subprocess.run(
        [sys.executable, "-c", _ENDED, str(config), str(int(ending))],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert ended.returncode != 0
    before = [o.candidate for o in read_outcomes(tmp_path / "study")]
    assert 3 <= len(before) < 31
    result = search(config)
    candidates = [json.dumps(row["recipe"]) for row in result.results["candidates"]]
    assert len(candidates) == len(set(candidates)) == 31
    assert [o.candidate for o in read_outcomes(tmp_path / "study")][: len(before)] == before
    assert read_json(tmp_path / "study" / "results.json")["status"] == "finished"


def test_other_objectives_go_on_in_the_same_study(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2], "quality": [0.8, 0.9], "speed": [5.0]})
    first = search(config, trials=3)
    config.write_text(
        config.read_text().replace(
            "maximize: accuracy\n  minimize: decode_ms_p50", "minimize: decode_ms_p50"
        )
    )
    second = search(config)
    (objective,) = second.results["objectives"]
    assert (objective["metric"], objective["direction"]) == ("decode_ms_p50", "minimize")
    kept = [row["recipe"] for row in second.results["candidates"][:3]]
    assert kept == [row["recipe"] for row in first.results["candidates"]]
    assert len(second.results["candidates"]) == 5
    with closing(sqlite3.connect(tmp_path / "study" / "study.db")) as mirror:
        assert mirror.execute("select count(*) from study_directions").fetchone() == (1,)


@pytest.mark.parametrize(
    ("evaluate", "switches", "linked"),
    [
        (["footprint"], {}, True),
        (["footprint", "readback"], {}, False),  # code from elsewhere might write there
        (["footprint"], {"trust_remote_code": True}, False),  # as might the model's own
    ],
)
def test_hard_links_go_to_what_only_reads(
    tmp_path: Path, evaluate: list[str], switches: dict[str, bool], linked: bool
) -> None:
    objectives = {"minimize": "size_mb"}
    config = write_fake_study(tmp_path, {"x": 1}, evaluate=evaluate, objectives=objectives)
    big = tmp_path / "model" / "model.safetensors"
    big.write_bytes(big.read_bytes() + bytes(2 << 20))
    target = LocalTarget()
    prepared = PreparedSearch(load(config, **switches), Store(tmp_path / "store"), target)
    target.close()
    with prepared.job_factory().packaged(prepared.model, RuntimeSettings()) as package:
        same = os.path.samefile(big, package.path / big.name)
    assert same is linked
