from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from paretune.config import load
from paretune.config.runtimes import check_provided, runtimes_by_kind
from paretune.core.candidate import Candidate, RuntimeSettings, Step, describe
from paretune.core.errors import UsageError
from paretune.search.space import Space
from paretune.search.strategies.exhaustive import Exhaustive
from tests.onnx_networks import write_network

CONFIG = {
    "model": "network",
    "passes": [{"onnx_dynamic_int8": {}, "optional": True}],
    "evaluate": ["latency"],
    "objectives": {"minimize": "latency_ms_p50"},
}


def space(folder: Path, **changes: object) -> list[Candidate]:
    write_network(folder / "network")
    file = folder / "net.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, **changes}))
    plan = load(file)
    again = folder / "again.yaml"
    again.write_text(yaml.safe_dump(plan.to_json()))
    assert load(again).to_json() == plan.to_json(), "the resolved configuration is one itself"
    found = list(plan.space)
    assert [plan.space.index(candidate) for candidate in found] == list(range(len(found)))
    return found


def test_settings_are_part_of_the_space(tmp_path: Path) -> None:
    levels = {"onnxruntime": {"threads": [1, 2], "graph_optimization": ["basic", "all"]}}
    found = space(tmp_path, runtimes=[levels])
    int8 = (Step("onnx_dynamic_int8", {}),)
    assert found == [
        Candidate(recipe, RuntimeSettings("cpu", threads, (("graph_optimization", level),)))
        for recipe in (int8, ())
        for threads in (1, 2)
        for level in ("basic", "all")
    ]
    assert describe(found[0]) == "onnx_dynamic_int8 @ cpu x1 graph_optimization=basic"
    assert len({candidate.digest for candidate in found}) == 8


def test_settings_that_mean_the_same_are_one_candidate(tmp_path: Path) -> None:
    write_network(tmp_path / "network")
    settings = {
        "threads": [1, 2],
        "execution_mode": ["sequential", "parallel"],
        "inter_op_threads": [1, 2],
        "memory_pattern": [False, True],
        "spinning": [True, False],
    }
    file = tmp_path / "net.yaml"
    entry = {**CONFIG, "passes": [], "runtimes": [{"onnxruntime": settings}]}
    file.write_text(yaml.safe_dump(entry))
    plan = load(file)
    found = {candidate.digest: candidate.runtime.settings for candidate in plan.space}.values()
    assert len(found) == 2 * (1 + 2) + (1 + 2 + 2 + 2)
    for one in found:
        parallel = one["execution_mode"] == "parallel"
        if parallel:
            assert one["memory_pattern"] is False
        else:
            assert one["inter_op_threads"] == 1
        if one["threads"] == 1 and not (parallel and one["inter_op_threads"] == 2):
            assert one["spinning"] is True
    assert plan.space.size == len(found)
    assert [plan.space.index(candidate) for candidate in plan.space] == [*range(len(found))]
    search = Exhaustive(plan.space, plan.objectives, 0)
    asked = [*iter(search.ask, None)]
    assert len(asked) == len(found)


def test_what_an_entry_does_not_say_comes_from_the_target(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    short = space(tmp_path / "a", target={"threads": [1, 2]})
    long = space(tmp_path / "b", target={"threads": [1, 2]}, runtimes=["onnxruntime", "torch"])
    assert short == long
    assert [c.digest for c in short] == [c.digest for c in long]
    assert short[0].to_json()["runtime"] == {"provider": "cpu", "threads": 1}


def test_a_candidate_to_try_first_has_settings_of_its_runtime(tmp_path: Path) -> None:
    write_network(tmp_path / "network")
    file = tmp_path / "net.yaml"
    first = {"recipe": [], "threads": 3, "graph_optimization": "extended"}
    file.write_text(yaml.safe_dump({**CONFIG, "try_first": [first]}))
    (candidate,) = load(file).try_first
    assert candidate.runtime == RuntimeSettings("cpu", 3, (("graph_optimization", "extended"),))


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ({"graph_optimisation": "all"}, "expected recipe"),
        ({"runtime": "onnx_runtime"}, "no runtime named 'onnx_runtime'\n.*onnxruntime"),
        ({"threads": "many"}, "a number of threads"),
    ],
)
def test_what_is_wrong_with_its_settings_is_said(
    tmp_path: Path, first: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){told}"):
        space(tmp_path, try_first=[{"recipe": [], **first}])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"threads": 0}, "greater than or equal to 1"),
        ({"threads": True}, "boolean"),
        ({"provider": "gpu"}, "'cpu', 'cuda', 'dml' or 'openvino'"),
        ({"graph_optimization": ["all", "most"]}, "found 'most'"),
        ({"graph_optimization": {"low": 1, "high": 2}}, "a range is not allowed"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(
    tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=f"(?s){told}"):
        space(tmp_path, runtimes=[{"onnxruntime": settings}])


def test_a_runtime_gets_the_providers_that_it_has(tmp_path: Path) -> None:
    target = {"providers": ["cpu", "openvino"], "threads": [1]}
    found = space(tmp_path, target=target, passes=[])
    assert [each.runtime.provider for each in found] == ["cpu", "openvino"]
    both = runtimes_by_kind((), ["cpu", "openvino"], [1], "hf", [])
    assert both is not None
    assert [each.provider for each in both.settings["hf"]] == ["cpu"]
    told: list[str] = []
    space_of_hf = Space((), ("openvino",), (1,))
    check_provided(["hf"], space_of_hf, lambda path, what, hint: told.append(what))
    assert len(told) == 1
    assert told[0].startswith("the runtime torch has no provider 'openvino'")
    check_provided(["onnx"], space_of_hf, lambda path, what, hint: told.append(what))
    assert len(told) == 1


def test_a_kind_that_none_of_the_runtimes_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="kind onnx, which the runtime genai does not run"):
        space(tmp_path, runtimes=["genai"])
