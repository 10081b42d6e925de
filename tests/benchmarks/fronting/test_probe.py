"""One process with a real build: the same figures as the model itself, and a time of a token."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fronting.making import OURS, Variant, Workshop
from fronting.measuring import (
    NotRun,
    graph_of,
    interleaved,
    pooled_by,
    probed,
    relative_speeds,
    token_figures,
)
from fronting.texts import reference_log_probabilities

from tests.tiny_models import make_tiny_llama

IDS = [[3, 5, 7, 9, 11, 13, 2, 4], [8, 6, 4, 2, 10, 12, 14, 16]]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("front")
    model = make_tiny_llama(folder / "model")
    (folder / "reference").mkdir()
    for number, matrix in enumerate(reference_log_probabilities(model, IDS)):
        np.save(folder / "reference" / f"{number}.npy", matrix)
    variant = Variant(OURS, "fp32", [{"genai": {"precision": "fp32"}}])
    return Workshop(model, folder / "store").built(variant), folder / "reference"


def test_a_build_in_fp32_says_what_its_model_says(package: tuple[Path, Path]) -> None:
    built, reference = package
    found = probed(sys.executable, "genai", built, {}, sequences=IDS, reference=str(reference))
    assert abs(found["kl_per_token"]) < 1e-5
    assert found["tokens"] == 16


def test_builds_are_timed_in_turn(package: tuple[Path, Path]) -> None:
    built, _ = package
    asked = (sys.executable, "genai", built, {})
    wrong = (sys.executable, "genai", built / "nothing", {})
    found, failed = interleaved({"a": asked, "wrong": wrong, "b": asked}, IDS[0], 2)
    assert set(found) == {"a", "b"}
    assert all(len(each) == 2 and min(each) > 0 for each in found.values())
    assert "genai_config" in failed["wrong"]


def test_a_runtime_that_does_not_load_a_build_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotRun, match="genai_config"):
        probed(sys.executable, "genai", tmp_path, {}, prompt=[1], new=1)


def test_a_speed_is_that_of_the_base_over_its_own_round_by_round() -> None:
    found = token_figures([0.02, 0.03, 0.04], [0.01, 0.03, 0.01])
    assert found["speed"] == pytest.approx(0.5)
    assert (found["speed_low"], found["speed_high"]) == (0.25, 1.0)
    assert found["token_ms_p50"] == pytest.approx(20.0)  # the base's 10 ms at half its speed


def test_builds_of_one_graph_have_one_speed() -> None:
    times = {"a": [1.0, 5.0], "b": [3.0, 1.0], "c": [2.0, 3.0], "d": [7.0, 8.0]}
    found = pooled_by({"a": "x", "b": "x", "c": "x", "d": "y"}, times)
    assert found == {"a": [2.0, 3.0], "b": [2.0, 3.0], "c": [2.0, 3.0], "d": [7.0, 8.0]}
    assert pooled_by({}, times) == times


def test_graphs_are_equal_whatever_their_weights_hold(tmp_path: Path) -> None:
    variants = [
        Variant(OURS, name, [{"genai": {"precision": "int4", **more}}])
        for name, more in (("a", {}), ("b", {}), ("c", {"block_size": 64}))
    ]
    graphs = [
        graph_of(Workshop(make_tiny_llama(tmp_path / v.name, seed=seed), tmp_path / "s").built(v))
        for seed, v in enumerate(variants)
    ]
    assert graphs[0] == graphs[1] != graphs[2]


def test_rounds_are_added_to_those_that_are_there(package: tuple[Path, Path]) -> None:
    asked = {name: (sys.executable, "genai", package[0], {}) for name in "ab"}
    kept = {"a": [1.0, 2.0], "b": [0.5, 1.0]}
    found, failed = relative_speeds(asked, "a", IDS[0], 1, kept=kept)
    assert not failed
    assert found["a"]["token_ms"][:2] == [1000, 2000]
    assert [len(each["token_ms"]) for each in found.values()] == [3, 3]
    found, _ = relative_speeds(asked, "a", IDS[0], 1, kept={"a": [1.0, 2.0]})
    assert [len(each["token_ms"]) for each in found.values()] == [1, 1]


def test_a_base_that_is_missing_or_does_not_run_is_refused(tmp_path: Path) -> None:
    wrong = {"a": (sys.executable, "genai", tmp_path, {})}
    with pytest.raises(SystemExit, match="b is not measured: run this without --speed first"):
        relative_speeds(wrong, "b", [1], 1)
    with pytest.raises(SystemExit, match=r"a does not run: .*genai_config"):
        relative_speeds(wrong, "a", [1], 1)
