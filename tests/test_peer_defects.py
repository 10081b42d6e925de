"""Eleven defects seen in a tool of the same kind, each shown not to be here.

The numbers are those of the table in ``benchmarks/README.md``, where the peer's own behaviour
stands beside ours (``benchmarks/peers/``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import paretune
from fake_study import search, write_fake_study

from paretune.core.candidate import Candidate, RuntimeSettings, Step
from paretune.core.errors import UsageError
from paretune.core.jsontools import read_json
from paretune.core.measurement import Measurement
from paretune.core.result import OutcomeKind, TrialResult
from paretune.evaluators.footprint import Footprint, FootprintParams
from paretune.evaluators.generation.generation import Generation, GenerationParams
from paretune.registry import find_pass
from paretune.search.constraints import Objective, parse_constraint
from paretune.search.space import PassSlot, Space
from paretune.search.summary import StudySummary, summarize
from paretune.stats.intervals import percentile
from paretune.store.artifacts import Store
from paretune.study.folder import read_outcomes
from tests.tiny_models import make_tiny_llama

OBJECTIVES = (Objective("accuracy", "maximize"), Objective("decode_ms_p50", "minimize"))


def ended(id: int, kind: OutcomeKind = OutcomeKind.OK, **values: float | None) -> TrialResult:
    measured = {
        name: Measurement(name, value, "", value, value, 100) for name, value in values.items()
    }
    return TrialResult(id, Candidate((Step("noop", {"x": id}),)), kind, measurements=measured)


def summary(outcomes: list[TrialResult], *constraints: str) -> StudySummary:
    return summarize(outcomes, OBJECTIVES, tuple(map(parse_constraint, constraints)), None)


def test_01_a_threshold_on_every_objective_is_still_a_threshold() -> None:
    outcomes = [ended(1, accuracy=0.5, decode_ms_p50=30.0), ended(2, accuracy=0.9, decode_ms_p50=5)]
    found = summary(outcomes, "accuracy >= 0.95", "decode_ms_p50 <= 10")
    assert found.feasible == frozenset()
    assert found.best is None
    assert found.nearest_miss is not None
    assert found.nearest_miss["id"] == 2


@pytest.mark.parametrize("value", [float("nan"), None])
def test_02_a_metric_that_is_not_a_number_is_never_on_the_front(value: float | None) -> None:
    outcomes = [ended(1, accuracy=0.9, decode_ms_p50=10), ended(2, accuracy=value, decode_ms_p50=1)]
    found = summary(outcomes)
    assert found.front == (1,)
    assert found.best == 1
    assert summary(outcomes, "accuracy >= 0.1").feasible == {1}


@pytest.mark.parametrize("kind", [k for k in OutcomeKind if k is not OutcomeKind.OK])
def test_03_a_failed_candidate_breaks_no_sorting_and_meets_no_goal(kind: OutcomeKind) -> None:
    outcomes = [ended(1, kind), ended(2, accuracy=0.9, decode_ms_p50=10.0), ended(3, kind)]
    for constraints in ((), ("accuracy >= 0.5",)):
        found = summary(outcomes, *constraints)
        assert found.feasible == {2}
        assert found.front == (2,)


def test_04_lacking_a_metric_of_which_less_is_better_does_not_rank_best() -> None:
    outcomes = [ended(1, accuracy=0.9, decode_ms_p50=10.0), ended(2, accuracy=0.99)]
    assert summary(outcomes).front == (1,)
    assert summary(outcomes, "decode_ms_p50 <= 100").feasible == {1}


def test_05_two_trials_are_two(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": {"low": 1, "high": 9}})
    assert len(search(config, trials=2).results["candidates"]) == 2


def test_06_a_crash_and_a_hang_end_one_candidate_not_the_search(tmp_path: Path) -> None:
    config = write_fake_study(
        tmp_path,
        {"misbehave": ["segfault", "hang", ""], "x": 1},
        search={"strategy": "exhaustive", "job_time": "10s"},
    )
    rows = search(config).results["candidates"]
    assert [row["outcome"] for row in rows] == ["ok", "crashed", "timeout", "ok"]


def test_07_what_was_found_is_on_disk_while_the_search_runs(tmp_path: Path) -> None:
    """`tests/chaos` kills at every step; here once, after the second outcome of five."""
    config = write_fake_study(tmp_path, {"x": [1, 2, 3, 4]})
    tests = Path(__file__).resolve().parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            str(tests / part) for part in ("chaos/site", "plugins", "chaos")
        ),
        "CHAOS_JOURNAL": str(tmp_path / "journal"),
        "CHAOS_AT": "outcome:after:2",
    }
    command = [sys.executable, str(tests / "chaos" / "victim.py"), "fakes", str(config)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert len(read_outcomes(tmp_path / "study")) == 2
    results = read_json(tmp_path / "study" / "results.json")
    # It is written anew at most every two seconds, and at the first outcome.
    assert results["status"] == "running"
    assert 1 <= len(results["candidates"]) <= 2


def test_08_a_failed_pass_is_not_kept_and_keys_do_not_collide(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"misbehave": "kill", "x": 1})
    search(config)
    store = Store(tmp_path / "store")
    assert len(store.actions()) == 1  # the baseline's; the failure left none
    (action,) = store.actions()
    assert len(action.key) == 64  # hex digits: 256 bits


def test_09_keys_know_package_versions_and_speeds_their_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genai, store = find_pass("genai"), Store(tmp_path / "keys")

    def key() -> str:
        return store.action_key(
            input_digest="sha256:1",
            pass_=genai,
            params=genai.Params(precision="fp32"),
            data={},
            provider="cpu",
        )

    before = key()
    monkeypatch.setattr("paretune.store.artifacts.package_version", lambda name: "another")
    assert key() != before
    monkeypatch.undo()
    config = write_fake_study(tmp_path, {"x": 1})
    search(config)
    monkeypatch.setattr("paretune.targets.device.fingerprint.physical_cores", lambda: 77)
    with pytest.raises(UsageError, match="device was"):
        search(config)


def test_10_no_percentile_without_samples_and_the_metrics_that_matter() -> None:
    twenty = [float(n) for n in range(20)]
    assert percentile(twenty, 0.95) is None
    assert percentile(twenty, 0.999) is None
    found = percentile(twenty, 0.5)
    assert found is not None
    value, low, high = found
    assert low < value < high
    yielded = {
        spec.name
        for evaluator in (Generation(GenerationParams()), Footprint(FootprintParams()))
        for spec in evaluator.metrics
    }
    assert yielded >= {"ttft_ms_p50", "decode_ms_p50", "decode_tokens_per_s", "peak_memory_mb"}


def test_11_the_provider_is_searched_any_metric_is_an_objective_and_failure_has_a_status(
    tmp_path: Path,
) -> None:
    space = Space((PassSlot("noop", {"x": (1,)}),), ("cpu", "cuda"), (1,))
    assert {c.runtime for c in space} == {RuntimeSettings("cpu", 1), RuntimeSettings("cuda", 1)}
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    make_tiny_llama(tmp_path / "llama")  # one with a tokenizer, which perplexity needs
    config = write_fake_study(
        tmp_path,
        {"misbehave": "raise"},
        baseline=[{"noop": {"misbehave": "raise"}}],
        model="llama",
        data={"lines": {"file": "lines.txt", "text": "{text}"}},
        evaluate=["readback", {"perplexity": {"data": "lines"}}],
        objectives={"minimize": ["perplexity", "decode_ms_p50"]},
    )
    ran = paretune("run", config, cwd=tmp_path)
    assert ran.returncode == 3, ran.stderr
    assert "Traceback" not in ran.stderr
