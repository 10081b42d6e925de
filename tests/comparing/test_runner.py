"""`paretune compare`: the rounds' verdicts, what may be compared, and the command itself."""

from __future__ import annotations

import json
import random
import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from command_line import paretune
from fake_study import search, write_fake_study
from hypothesis import given
from hypothesis import strategies as st

from paretune.comparing.runner import PairwiseComparison, compare
from paretune.comparing.subjects import open_entrants
from paretune.comparing.text import render
from paretune.comparing.workloads import Workload
from paretune.core.errors import UsageError
from paretune.core.model import Model
from paretune.evaluators.generation.timing import TURNS
from paretune.stats.sequential import least_rounds
from paretune.targets.launchers.local import LocalTarget
from tests.tiny_models import make_tiny_llama


def _contest(speeds: dict[str, float], rounds: int, noise: float = 0.01) -> PairwiseComparison:
    draw = random.Random(5)
    contest = PairwiseComparison(list(speeds), metrics=("decode_ms_p50",))
    for _ in range(rounds):
        hour = draw.uniform(1, 3)  # hits all of a round alike
        contest.add(
            {
                label: {"decode_ms_p50": [hour * ms * draw.lognormvariate(0, noise)]}
                for label, ms in speeds.items()
            }
        )
    return contest


def test_what_differs_is_told_apart_though_the_machine_changes_threefold() -> None:
    contest = _contest({"a": 10.0, "b": 10.5, "c": 10.5}, 80)
    verdicts = {(p["a"], p["b"]): p["verdict"] for p in contest.pairs()}
    assert verdicts == {("a", "b"): "faster", ("a", "c"): "faster", ("b", "c"): "same"}
    assert contest.decided


def test_nothing_is_said_too_early() -> None:
    alpha = 0.01 / 3  # three pairs share the error
    needed = least_rounds(alpha)
    early = _contest({"a": 10.0, "b": 20.0, "c": 40.0}, needed - 1, noise=0.001)
    assert {p["verdict"] for p in early.pairs()} == {"undecided"}
    assert not early.decided
    assert _contest({"a": 10.0, "b": 20.0, "c": 40.0}, needed, noise=0.001).decided


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_the_entrants_changes_nothing_but_the_side(labels: list[str]) -> None:
    speeds = {"a": 10.0, "b": 10.8, "c": 14.0}
    ordered = _verdicts(_contest(speeds, 40, noise=0.0))
    other = _verdicts(_contest({label: speeds[label] for label in labels}, 40, noise=0.0))
    assert other == ordered


def _verdicts(contest: PairwiseComparison) -> set[tuple[str, str]]:
    """Return (faster, slower) of each pair."""
    sides = {"faster": lambda p: (p["a"], p["b"]), "slower": lambda p: (p["b"], p["a"])}
    return {sides[p["verdict"]](p) for p in contest.pairs()}


def test_real_models_in_processes_of_their_own(tiny_genai: Model, tmp_path: Path) -> None:
    small = shutil.copytree(tiny_genai.path, tmp_path / "small")
    with LocalTarget() as target:
        subjects = open_entrants([str(small), str(small)], target.info(), threads=1)
        found = compare(subjects, target, workload=Workload(8, 4, block_s=0.02), rounds=2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(found["rounds"]) == 2
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"]) == ("small (1)", "small (2)")
    assert pair["verdict"] == "undecided"  # two rounds say nothing
    assert pair["metric"] == "decode_ms_p50"
    assert pair["ratio"] > 0
    assert set(pair["metrics"]) == {"decode_ms_p50", "ttft_ms_p50"}
    for blocks in found["rounds"]:
        for medians in blocks.values():
            assert set(medians) == {"decode_ms_p50", "ttft_ms_p50"}
            assert all(len(turns) == TURNS and min(turns) > 0 for turns in medians.values())
    assert found["in_turns"]
    assert found["interference"].keys() == {"others", "stolen"}
    assert isinstance(found["conditions"], dict)
    text = render(found)
    assert "small (1)" in text
    assert re.search(r"comparing .* with .* needs at least \d+ rounds", text)


def test_a_sentence_for_each_verdict() -> None:
    def told(speeds: dict[str, float], rounds: int, **more: Any) -> str:
        contest = _contest(speeds, rounds)
        subjects = [
            {"label": label, "metrics": {}, "runtime": {"threads": 1}, "about": "x"}
            for label in speeds
        ]
        return render(
            {
                "entrants": subjects,
                "pairs": contest.pairs(),
                "margin": 0.02,
                "confidence": 0.99,
                "rounds": [{}] * rounds,
                "decided": contest.decided,
                "in_turns": True,
                "interference": {"others": 0.0, "stolen": 0.0},
                **more,
            }
        )

    assert "faster than b" in told({"a": 10.0, "b": 11.0}, 30)
    assert "slower than b" in told({"a": 11.0, "b": 10.0}, 30)
    assert "equal within 2%" in told({"a": 10.0, "b": 10.0}, 60)
    assert "undecided; a takes" in told({"a": 10.0, "b": 10.1}, 12)
    hot = told({"a": 10.0, "b": 11.0}, 30, conditions={"throttled": ["board: throttled"]})
    assert "the device was throttled (board: throttled), which affected all models equally" in hot


def test_what_cannot_be_compared_is_refused_with_the_way_out(tmp_path: Path) -> None:
    small = make_tiny_llama(tmp_path / "small")
    study = search(write_fake_study(tmp_path / "fake", {"x": [1]})).study
    cases = [
        ([small], "needs two or more"),
        ([small, tmp_path / "absent"], "absent"),
        ([small, f"{study}#77"], "no candidate 77"),
    ]
    for given_, message in cases:
        shown = paretune("compare", *given_, cwd=tmp_path)
        assert shown.returncode == 2, shown.stderr
        assert message in shown.stderr
        assert "Traceback" not in shown.stderr
    shown = paretune("compare", small, small, "--prompt-tokens", "100000", cwd=tmp_path)
    assert shown.returncode == 2, shown.stderr
    assert "100033 tokens are needed" in shown.stderr
    assert "--prompt-tokens" in shown.stderr
    shown = paretune("compare", small, small, "--time", "soon", cwd=tmp_path)
    assert shown.returncode == 2
    assert "10m" in shown.stderr


def test_labels_tell_entrants_apart(tmp_path: Path) -> None:
    one = make_tiny_llama(tmp_path / "one" / "model")
    other = make_tiny_llama(tmp_path / "other" / "model", seed=1)
    with LocalTarget() as target:
        device = target.info()
    paths = [str(one), str(other)]
    assert [e.label for e in open_entrants(paths, device)] == paths
    assert [e.label for e in open_entrants([str(one), str(one)], device)] == [
        "model (1)",
        "model (2)",
    ]
    for a, b in combinations([e.label for e in open_entrants([*paths, str(one)], device)], 2):
        assert a != b


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    with LocalTarget() as target, pytest.raises(UsageError):
        open_entrants([str(folder), str(folder)], target.info())
