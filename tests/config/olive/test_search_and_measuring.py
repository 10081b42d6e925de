"""Search strategies become spaces, priorities objectives, goals constraints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_study import write_stub_model

from paretune.config import load
from paretune.config.olive import Status
from paretune.config.olive.rendering import config_text
from tests.config.olive.olive_files import build_only, entry, flat, refused, translation, whole

TPE = {"execution_order": "joint", "sampler": "tpe", "max_samples": 3, "seed": 5}


def latency(**sub: Any) -> dict[str, Any]:
    return {"metrics": [{"name": "l", "type": "latency", "sub_types": [{"name": "avg", **sub}]}]}


def searched(strategy: Any = TPE, evaluator: Any = None, **changes: Any) -> dict[str, Any]:
    return build_only(
        search_strategy=strategy, evaluators={"e": evaluator or latency()}, evaluator="e", **changes
    )


@pytest.mark.parametrize("strategy", [False, None, {}])
def test_without_a_strategy_there_is_one_recipe(strategy: Any) -> None:
    config = whole(build_only(search_strategy=strategy))
    assert "search" not in config
    assert config["passes"] == config["baseline"] == [{"genai": {"precision": "int4"}}]


def test_with_one_the_passes_parameters_are_the_space(tmp_path: Path) -> None:
    value = searched({"execution_order": "joint", "sampler": "sequential"})
    value["passes"]["b"] |= {"int4_block_size": [32, 64], "int4_is_symmetric": True}
    config = whole(value)
    assert config["passes"] == [
        {
            "genai": {
                "precision": "int4",
                "block_size": [32, 64],
                "is_symmetric": True,
            }
        }
    ]
    # What only Olive 0.12 and later also searches over is named, and not searched over.
    (told,) = [e for e in translation(value).entries if e.key == "passes.b.int4_algo_config"]
    assert told.status is Status.APPROXIMATED
    assert "0.12 and later" in str(told.why)
    assert config["search"] == {"strategy": "exhaustive"}
    write_stub_model(tmp_path / "models" / "tiny")
    (tmp_path / "ours.yaml").write_text(config_text(config))
    plan = load(tmp_path / "ours.yaml")
    assert plan.space.size == 2
    assert plan.baseline is None


def test_ranks_are_searched_over_where_none_is_given() -> None:
    value = flat(search_strategy=TPE, evaluators={"e": latency()}, evaluator="e")
    assert whole(value)["passes"][0]["lora"]["r"] == [16, 32, 64]
    value["passes"]["l"]["r"] = {
        "olive_parameter_type": "SearchParameter",
        "type": "Categorical",
        "support": [4, 8],
    }
    assert whole(value)["passes"][0]["lora"]["r"] == [4, 8]
    value["passes"]["l"]["r"]["type"] = "Conditional"
    assert "depend on other" in refused(value)["passes.l.r"]
    value["passes"]["l"] |= {"disable_search": True, "r": None}
    assert whole(value)["passes"][0]["lora"]["r"] == 64
    value["search_strategy"] = {**TPE, "include_pass_params": False}
    assert whole(value)["passes"][2] == {"genai": {"precision": "int4"}}


SAMPLERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (TPE, {"strategy": "tpe", "trials": 4, "seed": 5}),
    ({"sampler": "random"}, {"strategy": "random", "seed": 1}),
    ({"sampler": "random", "max_samples": 0}, {"strategy": "random", "seed": 1}),
    ({"sampler": "sequential", "max_samples": 2}, {"strategy": "exhaustive", "trials": 3}),
    ({"search_algorithm": "exhaustive"}, {"strategy": "exhaustive"}),
    ({"search_algorithm": "tpe", "num_samples": 3}, {"strategy": "tpe", "trials": 4, "seed": 1}),
    (
        {"search_algorithm": "tpe", "search_algorithm_config": {"num_samples": 3, "seed": 0}},
        {"strategy": "tpe", "trials": 4, "seed": 0},
    ),
    ({"search_algorithm": "random"}, {"strategy": "random", "trials": 2, "seed": 1}),
    (
        {"sampler": "tpe", "sampler_config": {"max_samples": 9}, "max_iter": 5, "max_time": 600},
        {"strategy": "tpe", "trials": 6, "seed": 1, "time": 600},
    ),
]


@pytest.mark.parametrize(("strategy", "expected"), SAMPLERS)
def test_sampler_samples_and_seed_keep_their_meaning(
    strategy: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert whole(searched(strategy))["search"] == expected


def test_the_order_of_execution() -> None:
    assert entry(searched(), "search_strategy.execution_order").status is Status.TRANSLATED
    by_pass = searched({**TPE, "execution_order": "pass-by-pass"})
    assert entry(by_pass, "search_strategy.execution_order").status is Status.APPROXIMATED
    assert whole(by_pass) == whole(searched())


@pytest.mark.parametrize(
    ("strategy", "key"),
    [
        ("yes", "search_strategy"),
        (1, "search_strategy"),
        ({**TPE, "sampler": "grid"}, "search_strategy.sampler"),
        ({**TPE, "max_samples": -1}, "search_strategy.max_samples"),
        ({**TPE, "max_time": 0}, "search_strategy.max_time"),
        ({**TPE, "execution_order": "random"}, "search_strategy.execution_order"),
        ({**TPE, "stop_when_goals_met": True}, "search_strategy.stop_when_goals_met"),
        ({**TPE, "sede": 1}, "search_strategy.sede"),
    ],
)
def test_what_a_search_cannot_do(strategy: Any, key: str) -> None:
    assert refused(searched(strategy)).keys() == {key}


def test_several_passes_of_one_name_are_alternatives_of_a_search() -> None:
    builds = [{"type": "ModelBuilder", "precision": p} for p in ("fp32", "int8")]
    value = searched({"sampler": "sequential"}, passes={"b": builds})
    assert whole(value)["passes"] == [
        {"any": [{"genai": {"precision": "fp32"}}, {"genai": {"precision": "int8"}}]}
    ]
    fixed = build_only(passes={"b": builds})
    assert whole(fixed)["passes"] == [{"genai": {"precision": "fp32"}}]
    assert entry(fixed, "passes.b[1].precision").status is Status.NO_EFFECT


def test_pass_flows_are_orders_and_several_are_alternatives() -> None:
    one = flat(pass_flows=[["b"]])
    assert whole(one)["passes"] == [{"genai": {"precision": "int4"}}]
    assert entry(one, "passes.l.train_data_config").status is Status.NO_EFFECT
    two = whole(flat(pass_flows=[["b"], ["l", "m", "b"]]))["passes"]
    ((first, second),) = [entry["any"] for entry in two]
    assert first == [{"genai": {"precision": "int4"}}]
    assert [[*step] if isinstance(step, dict) else step for step in second] == [
        ["lora"],
        "merge",
        ["genai"],
    ]
    assert "found 'nothing'" in str(refused(flat(pass_flows=[["b"], ["nothing"]]))["pass_flows"])
    assert refused(flat(pass_flows="b")).keys() == {"pass_flows"}


def test_a_model_that_is_null_is_told_as_that() -> None:
    assert "found null" in str(refused(flat(input_model=None))["input_model"])


GOALS = [
    ("threshold", 50, "decode_ms_p50 <= 50"),
    ("max-degradation", 2.5, "decode_ms_p50 <= baseline + 2.5"),
    ("min-improvement", 2.5, "decode_ms_p50 <= baseline - 2.5"),
    ("percent-max-degradation", 20, "decode_ms_p50 <= baseline * 1.2"),
    ("percent-min-improvement", 20, "decode_ms_p50 <= baseline * 0.8"),
    ("percent-min-improvement", 0.1, "decode_ms_p50 <= baseline * 0.999"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), GOALS)
def test_goals_of_what_is_better_lower(kind: str, value: float, expected: str) -> None:
    evaluator = latency(priority=1, goal={"type": kind, "value": value})
    config = whole(searched(evaluator=evaluator))
    assert config["constraints"] == [expected]
    assert config["objectives"] == [{"minimize": "decode_ms_p50"}]


def accuracy(*subs: dict[str, Any], data: str = "tone") -> dict[str, Any]:
    return {"name": "a", "type": "accuracy", "data_config": data, "sub_types": list(subs)}


def paired(*metrics: dict[str, Any], strategy: Any = TPE) -> dict[str, Any]:
    """Return a search over data with prompts and answers."""
    value = flat(
        search_strategy=strategy, evaluators={"e": {"metrics": list(metrics)}}, evaluator="e"
    )
    value["data_configs"][0]["pre_process_data_config"] = {"dataset_type": "pair"}
    return value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("threshold", 0.8, "accuracy >= 0.8"),
        ("max-degradation", 0.02, "accuracy >= baseline - 0.02"),
        ("min-improvement", 0.02, "accuracy >= baseline + 0.02"),
        ("percent-max-degradation", 5, "accuracy >= baseline * 0.95"),
        ("percent-min-improvement", 5, "accuracy >= baseline * 1.05"),
    ],
)
def test_goals_of_what_is_better_higher(kind: str, value: float, expected: str) -> None:
    goal = {"type": kind, "value": value}
    config = whole(paired(accuracy({"name": "accuracy_score", "priority": 1, "goal": goal})))
    assert config["constraints"] == [expected]


def test_priorities_order_the_objectives() -> None:
    config = whole(
        paired(
            {"name": "t", "type": "throughput", "sub_types": [{"name": "avg", "priority": 3}]},
            {
                "name": "l",
                "type": "latency",
                "sub_types": [{"name": "avg", "priority": 2}, {"name": "max"}],
            },
            accuracy(
                {"name": "accuracy_score", "priority": 1}, {"name": "f1_score", "priority": -1}
            ),
            {"name": "s", "type": "size_on_disk", "sub_types": [{"name": "bytes", "priority": 4}]},
        )
    )
    assert config["evaluate"] == [
        "generation",
        {"classification": {"data": "tone"}},
        "footprint",
    ]
    assert config["objectives"] == [
        {"maximize": "accuracy"},
        {"minimize": "decode_ms_p50"},
        {"maximize": "decode_tokens_per_s"},
        {"minimize": "size_mb"},
    ]


def test_perplexity_and_exact_match_and_a_size_in_bytes() -> None:
    value = flat(
        search_strategy=TPE,
        evaluator={
            "metrics": [
                accuracy({"name": "perplexity", "priority": 1}),
                {
                    "name": "s",
                    "type": "size_on_disk",
                    "sub_types": [
                        {
                            "name": "bytes",
                            "priority": 2,
                            "goal": {"type": "threshold", "value": 300e6},
                        }
                    ],
                },
            ]
        },
    )
    config = whole(value)
    assert config["evaluate"] == [{"perplexity": {"data": "tone"}}, "footprint"]
    assert config["constraints"] == ["size_mb <= 300"]
    exact = whole(paired(accuracy({"name": "exact_match"})))
    assert exact["evaluate"] == [{"exact_match": {"data": "tone"}}]
    assert exact["objectives"] == [{"maximize": "exact_match"}]


def test_how_each_measurement_differs_is_said() -> None:
    name = entry(searched(), "evaluators.e.metrics[0].sub_types[0].name")
    assert (name.status, name.into) == (Status.APPROXIMATED, "evaluate.generation")
    assert "one token decoded" in str(name.why)


METRICS = "evaluators.e.metrics[0]."


@pytest.mark.parametrize(
    ("metric", "key", "told"),
    [
        (accuracy({"name": "accuracy_score"}), "data_config", "dataset_type: pair"),
        (accuracy({"name": "perplexity"}, data="tune"), "data_config", "Did you mean 'tone'?"),
        (accuracy({"name": "auroc"}), "sub_types[0].name", "paretune measures"),
        (
            {"name": "c", "type": "custom", "user_config": {"user_script": "x.py"}},
            "user_config.user_script",
            "runs none",
        ),
        (
            {
                "name": "l",
                "type": "latency",
                "sub_types": [{"name": "avg", "higher_is_better": True}],
            },
            "sub_types[0].higher_is_better",
            "are better",
        ),
        (
            {
                "name": "l",
                "type": "latency",
                "sub_types": [{"name": "avg"}],
                "user_config": {
                    "inference_settings": {"onnx": {"session_options": {"intra_op": 2}}}
                },
            },
            "user_config.inference_settings",
            "belong to the target",
        ),
        (
            {
                "name": "l",
                "type": "latency",
                "sub_types": [{"name": "avg"}],
                "user_config": {
                    "inference_settings": {"onnx": {"session_options": {"enable_profiling": True}}}
                },
            },
            "user_config.inference_settings",
            "belong to the target",
        ),
    ],
)
def test_what_cannot_be_measured(metric: dict[str, Any], key: str, told: str) -> None:
    value = flat(search_strategy=TPE, evaluators={"e": {"metrics": [metric]}}, evaluator="e")
    assert told in refused(value)[METRICS + key]


@pytest.mark.parametrize(
    "settings", [{}, {"onnx": {}}, {"onnx": {"session_options": {"enable_profiling": False}}}]
)
def test_run_time_settings_that_set_nothing_are_no_refusal(settings: dict[str, Any]) -> None:
    one = latency()
    one["metrics"][0]["user_config"] = {"inference_settings": settings}
    value = flat(search_strategy=TPE, evaluators={"e": one}, evaluator="e")
    assert refused(value) == {}


def test_a_strategy_that_is_true_is_every_combination() -> None:
    value = flat(search_strategy=True, evaluators={"e": latency()}, evaluator="e")
    assert whole(value)["search"] == {"strategy": "exhaustive"}


def test_lm_eval_is_unsupported() -> None:
    value = build_only(
        evaluators={"e": {"type": "LMEvaluator", "tasks": ["hellaswag"]}}, evaluator="e"
    )
    assert refused(value).keys() == {"evaluators.e.type"}


def test_without_a_search_olive_looks_at_no_goal() -> None:
    evaluator = latency(priority=1, goal={"type": "threshold", "value": 5})
    value = searched(False, evaluator)
    assert "constraints" not in whole(value)
    goal = entry(value, "evaluators.e.metrics[0].sub_types[0].goal")
    assert goal.status is Status.NO_EFFECT


def test_the_input_model_is_the_baseline_where_olive_measures_it() -> None:
    assert "baseline" not in whole(searched())
    assert "baseline" not in whole(searched(False))
    off = searched(False, evaluate_input_model=False)
    assert whole(off)["baseline"] == whole(off)["passes"]
    kept = searched(evaluate_input_model=False)
    assert "baseline" not in whole(kept)
    assert entry(kept, "evaluate_input_model").status is Status.APPROXIMATED


def test_without_an_evaluator_speed_and_size_are_measured_and_that_is_said() -> None:
    found = translation(build_only())
    assert found.config["evaluate"] == ["generation", "footprint"]
    added = {e.into: e.why for e in found.of(Status.ADDED)}
    assert {"evaluate", "objectives", "baseline"} <= added.keys()
    unused = build_only(evaluators={"e": latency()})
    assert entry(unused, "evaluators.e").status is Status.NO_EFFECT


def test_a_pass_is_measured_as_the_workflow_is() -> None:
    value = searched()
    value["passes"]["b"]["evaluator"] = "e"
    whole(value)
    value["passes"]["b"]["evaluator"] = "other"
    assert refused(value).keys() == {"passes.b.evaluator"}
