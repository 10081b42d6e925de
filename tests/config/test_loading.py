"""Configurations, right and wrong; most use the fake passes of tests/plugins."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_study import write_fake_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.config import Plan, load
from paretune.core.candidate import RuntimeSettings
from paretune.core.errors import ConfigError, DataError, UsageError
from paretune.search.space import AnyOf, Chain, PassSlot
from paretune.search.stop_rule import StopRule


def plan_of(folder: Path, noop: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return load(write_fake_study(folder, noop or {"x": 1}, **changes))


def test_choices_ranges_alternatives_and_optional_stages(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        passes=[
            {"fake_train": {"x": [4, 16], "speed": {"low": 1, "high": 3, "step": 1}}},
            {"noop": {"x": 2}, "optional": True},
            {"any": [{"noop": {"x": [1, 2]}}, [{"noop": {"x": 3}}, "noop"]], "optional": True},
        ],
    )
    assert plan.space.stages == (
        PassSlot("fake_train", {"x": (4, 16), "speed": (1.0, 2.0, 3.0)}),
        PassSlot("noop", {"x": (2,)}, optional=True),
        AnyOf(
            (
                PassSlot("noop", {"x": (1, 2)}),
                Chain((PassSlot("noop", {"x": (3,)}), PassSlot("noop"))),
            ),
            optional=True,
        ),
    )
    assert plan.space.size == 6 * 2 * 4


def test_numbers_that_yaml_takes_for_text(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"quality": "5e-1", "x": "3"})
    assert plan.space.at(0).recipe[0].params == {"quality": 0.5, "x": 3}


def test_a_list_that_is_a_value_stays_one(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"p": "1", "a": "x"}\n{"p": "2", "a": "x"}\n')
    both = [["q_proj", "v_proj"], "all-linear"]
    plan = plan_of(
        tmp_path,
        data={"t": {"file": "t.jsonl", "prompt": "{p}", "answer": "{a}", "split": {"test": 0.5}}},
        passes=[{"lora": {"train": "t.train", "target_modules": both}}, "merge", "noop"],
    )
    (slot, *_) = plan.space.stages
    assert isinstance(slot, PassSlot)
    assert slot.grid["target_modules"] == (["q_proj", "v_proj"], "all-linear")


def test_try_first_and_baseline(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"x": [1, 2]},
        try_first=[[{"noop": {"x": 7}}], {"recipe": [{"noop": {"x": 8}}], "threads": 2}],
    )
    assert [c.recipe[0].params["x"] for c in plan.try_first] == [7, 8]
    assert [c.runtime for c in plan.try_first] == [
        RuntimeSettings("cpu", 1),
        RuntimeSettings("cpu", 2),
    ]
    assert plan.baseline is not None
    assert plan.baseline[0].params == {"x": 0}


def test_objectives_keep_their_order(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, objectives={"minimize": "decode_ms_p50", "maximize": ["accuracy"]})
    assert [o.metric for o in plan.objectives] == ["decode_ms_p50", "accuracy"]
    assert plan.search.strategy == "exhaustive"


def test_times_and_sizes(tmp_path: Path) -> None:
    stop = {"gain_per_minute": "0.5%"}
    plan = plan_of(tmp_path / "stop", search={"stop": stop})
    assert plan.search.stop == StopRule(0.005, 10)
    assert plan.to_json()["search"]["stop"] == {"gain_per_minute": 0.005, "after": 10}
    plan = plan_of(tmp_path, search={"time": "10m", "job_time": "90s", "job_memory": "8GB"})
    assert plan.search.stop is None
    assert (plan.search.time_s, plan.search.job_time_s, plan.search.job_memory_mb) == (
        600,
        90,
        8000,
    )
    assert load(plan.file, time="2h", trials=3).search.time_s == 7200
    assert plan.search.share_measurements
    assert "share_measurements" not in plan.to_json()["search"]
    (tmp_path / "alone").mkdir()
    alone = plan_of(tmp_path / "alone", search={"share_measurements": False})
    assert not alone.search.share_measurements
    assert alone.to_json()["search"]["share_measurements"] is False
    assert plan.search.parent_quality
    assert "parent_quality" not in plan.to_json()["search"]
    (tmp_path / "off").mkdir()
    off = plan_of(tmp_path / "off", search={"parent_quality": False})
    assert not off.search.parent_quality
    assert off.to_json()["search"]["parent_quality"] is False
    with pytest.raises(UsageError, match="expected a time such as"):
        load(plan.file, time="soon")


def test_the_resolved_configuration_is_a_configuration(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        {"x": [1, 2]},
        try_first=[[{"noop": {"x": 7}}]],
        constraints=["accuracy >= 0.5"],
        passes=[{"noop": {"x": [1, 2]}, "optional": True}, {"any": ["noop", ["noop", "noop"]]}],
    )
    again = tmp_path / "resolved.yaml"
    again.write_text(yaml.safe_dump(plan.to_json(), sort_keys=False))
    assert load(again).to_json() == plan.to_json()
    assert load(again).digest == plan.digest


def test_one_recipe_is_asked_for(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"x": [1, 2]})
    with pytest.raises(UsageError, match=r"describes 2 candidates.*noop\.x have several values"):
        load(config, single=True)


WRONG: list[tuple[str, str]] = [
    ("search: {stop: {gain_per_minute: 1}}", "search.stop.gain_per_minute.*less than 1"),
    ("search: {stop: {gain_per_minute: -1%}}", "expected a share such as 0.5% or 0.005"),
    ("search: {stop: {gain_per_minute: 0%}}", "gain_per_minute.*greater than 0"),
    ("search: {stop: {gain_per_minute: 1%, after: 1}}", "search.stop.after.*greater than.* 2"),
    ("search: {stop: {after: 5}}", "search.stop: the key 'gain_per_minute' is missing"),
    ("search: {stop: 1%}", "search.stop"),
    ("search: {stop: {gain: 1%}}", "search.stop"),
    ("passes: [{nop: {}}]", r"passes\[0\]\.nop: no pass named 'nop'\n.*Did you mean 'noop'"),
    ("passes: [{noop: {qualty: 1}}]", "has no parameter 'qualty'\n.*Did you mean 'quality'"),
    ("passes: [{noop: {x: much}}]", "passes.0..noop.x: input should be a valid integer"),
    ("passes: [{noop: {x: [1, b]}}]", r"noop\.x\[1\]"),
    ("passes: [{noop: {misbehave: {low: 1, high: 2}}}]", "a range is not allowed"),
    ("passes: [{noop: {x: {low: 5, high: 2}}}]", "low .5. is above high .2."),
    ("passes: [{noop: {x: {low: 1, high: 2, stepp: 1}}}]", "Did you mean 'step'"),
    ("passes: [{noop: {}, merge: {}}]", "expected one pass here, found noop, merge"),
    ("passes: [{noop: {}, optional: maybe}]", "expected true or false"),
    ("passes: [{any: []}]", "expected a list of alternatives"),
    ("passes: [7]", "expected a pass's name"),
    ("passes: [merge]", "the input model gives hf, but merge takes hf-adapter"),
    ("baseline: [{noop: {x: [1, 2]}}]", "expected one fixed pass here"),
    ("evaluate: [readbak]", "no evaluator named 'readbak'\n.*Did you mean 'readback'"),
    ("evaluate: [{readback: {m: 1}}]", "has no parameter 'm'"),
    ("evaluate: [readback, readback]", "both readback and readback yield"),
    ("evaluate: [readback, {classification: {}}]", "needs 'data'"),
    ("evaluate: []", "evaluate"),
    ("objectives: {maximise: accuracy}", "objectives"),
    ("objectives: {maximize: acuracy}", "Did you mean 'accuracy'"),
    ("constraints: [acuracy > 1]", "Did you mean 'accuracy'"),
    ("constraints: [accuracy is high]", "expected <=, <, >= or >"),
    ("target: {providers: [cpuu]}", "no execution provider 'cpuu'\n.*Did you mean 'cpu'"),
    ("target: {threads: [0]}", "threads"),
    ("target: {name: locall}", "Did you mean 'local'"),
    ("search: {strategy: genetic}", "no strategy named 'genetic'"),
    ("search: {trails: 3}", "unknown key 'trails'\n.*Did you mean 'trials'"),
    ("search: {stop: {gain_per_minut: 1%}}", "Did you mean 'gain_per_minute'"),
    ("search: {stop: {gain_per_minute: 1%, trails: 3}}", "Known: after, gain_per_minute"),
    ("search: {prefer: size_mb}", "is not an objective"),
    ("data: {d: {file: x}}", "expected either `text`, or `prompt`"),
    ("data: {d: {file: x, prompt: a}}", "`prompt` needs `answer`"),
    ("data: {d: {prompt: a, answer: b}}", "expected one of file, files and hub"),
    ("data: {d: {file: x, prompt: '{a{b}', answer: b}}", "expected a column's name in braces"),
    ("data: {d: {file: x, text: a, split: {tets: 0.3}}}", "Did you mean 'test'"),
    ("data: {d: {file: x, text: a, corpus: {strategi: join}}}", "Did you mean 'strategy'"),
    ("targets: {a: {ray: {addres: 'x:1'}}}", "Did you mean 'address'"),
    ("data: {d: {fil: x, text: a}}", "Did you mean 'file'"),
    ("evaluate: [readback, {classification: {data: nothing}}]", "no data set 'nothing'|both"),
    ("modell: x", "unknown key 'modell'\n.*Did you mean 'model'"),
]


@pytest.mark.parametrize(("line", "told"), WRONG)
def test_what_is_wrong_is_told_with_line_and_key(tmp_path: Path, line: str, told: str) -> None:
    config = write_fake_study(tmp_path, {"x": 1})
    value = yaml.safe_load(config.read_text())
    value.pop(line.partition(":")[0], None)
    config.write_text(yaml.safe_dump(value) + "# the line below is wrong\n" + line + "\n")
    number = len(config.read_text().splitlines())
    with pytest.raises(UsageError, match=told) as caught:
        load(config)
    assert f"fake.yaml:{number}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1,\nb: }", r"c\.yaml:2: not YAML"),
        ("a: 1\nb: 2\na: 3", r"c\.yaml:3: a: 'a' is given twice"),
        ("[1, 2]", "expected keys"),
        ("", "expected keys"),
        ("a: 2001-01-01", "expected text, a number"),
        ("1: 2", "expected a name as key"),
        ("a: !!python/object:os.system x", "not YAML"),
        ("a: &a [*a]", "not YAML|levels deep"),
        ("a: " + "[" * 60 + "]" * 60, "levels deep"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=told):
        load(tmp_path / "c.yaml")


def test_an_alias_bomb_ends_at_once(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{two}: &{two} [{', '.join(['*' + one] * 10)}]")
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="levels deep"):
        load(tmp_path / "c.yaml")


def test_several_mistakes_are_told_together(tmp_path: Path) -> None:
    config = write_fake_study(tmp_path, {"speeed": 1, "qualty": 2}, constraints=["nothing > 1"])
    with pytest.raises(UsageError, match=r"(?s)3 errors.*speeed.*qualty.*nothing"):
        load(config)


def test_a_metric_that_runs_code_needs_its_switch(tmp_path: Path) -> None:
    custom = {"function": "os:getcwd", "metric": "mine"}
    config = write_fake_study(
        tmp_path, {"x": 1}, evaluate=[{"custom": custom}], objectives={"maximize": "mine"}
    )
    with pytest.raises(UsageError, match=r"evaluate\[0\]\.custom: .*\n.*--trust-remote-code"):
        load(config)
    assert load(config, trust_remote_code=True).evaluators[0].name == "custom"


def test_texts_that_are_trained_on_and_measured_on_are_told(tmp_path: Path) -> None:
    rows = '{"p": "one", "a": "x"}\n{"p": "two", "a": "y"}\n'
    (tmp_path / "train.jsonl").write_text(rows)
    (tmp_path / "test.jsonl").write_text('{"p": "one ", "a": "x"}\n{"p": "3", "a": "y"}\n')
    plan = plan_of(
        tmp_path,
        data={
            "t": {
                "files": {"train": "train.jsonl", "test": "test.jsonl"},
                "prompt": "{p}",
                "answer": "{a}",
            }
        },
        passes=[{"lora": {"train": "t.train"}}, "merge"],
        baseline=[{"lora": {"train": "t.train"}}, "merge"],
        evaluate=[{"classification": {"data": "t.test"}}],
        objectives={"maximize": "accuracy"},
    )
    (note,) = plan.notes
    assert note.startswith("1 of 2 rows of t.test have a text that t.train has too")


def test_broken_data_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"a": "1"}\n{')
    config = write_fake_study(
        tmp_path,
        {"x": 1},
        objectives={"minimize": "perplexity"},
        data={"d": {"file": "d.jsonl", "text": "{a}"}},
        evaluate=[{"perplexity": {"data": "d"}}],
    )
    with pytest.raises(DataError, match="line 2 is not JSON"):
        load(config)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_any_text_is_a_plan_or_a_clean_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        load(tmp_path / "c.yaml")


keys = st.sampled_from(
    [
        "model",
        "data",
        "passes",
        "evaluate",
        "objectives",
        "constraints",
        "search",
        "target",
        "baseline",
        "try_first",
        "noop",
        "x",
        "any",
        "optional",
        "low",
        "high",
        "file",
        "split",
    ]
)
trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), keys),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.dictionaries(keys, trees, min_size=1, max_size=6))
def test_any_tree_of_our_own_keys_is_a_plan_or_a_clean_error(
    tmp_path: Path, tree: dict[str, Any]
) -> None:
    place = tmp_path / "stub"
    config = place / "fake.yaml"
    if not place.exists():
        write_fake_study(place, {"x": 1})
    base = {
        "model": "model",
        "passes": ["noop"],
        "evaluate": ["readback"],
        "objectives": {"maximize": "accuracy"},
    }
    config.write_text(yaml.safe_dump({**base, **tree}))
    try:
        assert load(config).space.size >= 0
    except UsageError as error:
        assert error.message


def test_a_wrong_evaluator_is_told_without_what_it_would_have_yielded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(
            tmp_path,
            evaluate=[{"generation": {"prompt_tokens": 20, "new_tokens": 1}}],
            objectives={"minimize": "decode_ms_p50"},
        )
    assert "new_tokens" in str(caught.value)
    assert "no evaluator yields" not in str(caught.value)
